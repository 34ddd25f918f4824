"""Recompute published numbers from public logs, without a model.

python benchmarks/reproduced/reproduce.py LOGS      (or RLM_EVAL_PUBLIC_LOGS=LOGS)

LOGS is a folder that holds copies of the logs anywhere below it. Each row of `published.csv` is
read by `rlm-eval import` and computed again; the table goes to the standard output as Markdown.
The exit code is 1 where a recomputed number is another one, 2 for a folder that is not there.
"""

from __future__ import annotations

import csv
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from rlm_eval.importers.rows import BadLog, Options
from rlm_eval.importers.start import run_import
from rlm_eval.methods.lambda_rlm.planner import make_plan
from rlm_eval.records.build import write_records

HERE = Path(__file__).parent
VARIABLE = "RLM_EVAL_PUBLIC_LOGS"


def published(path: Path = HERE / "published.csv") -> list[dict[str, str]]:
    """The rows that may be recomputed."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def found(logs: Path, patterns: str) -> list[Path]:
    """Files below `logs` whose path ends as one of the `;`-separated patterns says."""
    every = (path for pattern in patterns.split(";") for path in logs.rglob(pattern))
    return sorted({path for path in every if path.is_file()})


def value(records: pd.DataFrame, metric: str) -> float | None:
    """The number that a row of the table asks for; `None` where no row has it.

    `score_pct`: mean over scored rows; `score_all_pct`: a missing row counts as 0; `partial_pct`
    and `correct_pct`: means of what the log states over its rows; `tokens_mean`: input and output
    tokens of a row; `cost_all_usd`: a row without a cost counts as 0.
    """
    if metric == "tokens_mean":
        tokens = pd.to_numeric(records["input_tokens"]) + pd.to_numeric(records["output_tokens"])
        return float(tokens.mean())
    if metric == "cost_all_usd":
        return float(pd.to_numeric(records["note_their_cost"]).fillna(0).mean())
    if metric == "correct_pct":
        return 100 * float(records["note_correct"].astype(float).mean())
    scores = pd.to_numeric(records["score_theirs"])
    if metric == "score_all_pct":
        return 100 * float(scores.fillna(0).mean())
    return None if scores.dropna().empty else 100 * float(scores.mean())


def planned(settings: str, metric: str) -> int:
    """A number of a λ-RLM plan: `fan_out`, or `calls_theorem_1`, as its paper claims."""
    given = dict(part.split("=") for part in settings.split())
    plan = make_plan(int(given["chars"]), int(given["window"]), rule=given["rule"])
    return plan.k if metric == "fan_out" else plan.claimed


def recomputed(logs: Path, rows: Sequence[dict[str, str]]) -> Iterator[dict[str, Any]]:
    """Each row with `ours`, `same` (`None` = not recomputed) and `command`."""
    known: dict[tuple[str, str], pd.DataFrame | str] = {}
    for row in rows:
        if row["kind"] == "plan":  # from code alone
            ours = planned(row["files"], row["metric"])
            same = ours == int(row["published"])
            command = f"rlm_eval.methods.lambda_rlm.planner.make_plan ({row['files']})"
            yield {**row, "ours": str(ours), "same": same, "command": command}
            continue
        key = row["kind"], row["files"]
        if key not in known:
            known[key] = _records(*key, logs)
        records = known[key]
        command = f"rlm-eval import {row['kind']} {row['files'].split(';')[0]} -o RUN"
        if isinstance(records, str):
            yield {**row, "ours": records, "same": None, "command": command}
            continue
        own = records[records["method"] == row["method"]]
        for column in ("task", "model"):
            if row[column]:
                own = own[own["root" if column == "model" else column] == row[column]]
        if own.empty:
            yield {**row, "ours": "not in these files", "same": None, "command": command}
            continue
        number = value(own, row["metric"])
        digits = len(row["published"].partition(".")[2])
        same = (
            number is not None and abs(number - float(row["published"])) <= 0.5 * 10**-digits + 1e-9
        )
        told = "no row is scored" if number is None else f"{number:.{max(1, digits)}f}"
        yield {**row, "ours": told, "same": same, "command": command}


def _records(kind: str, files: str, logs: Path) -> pd.DataFrame | str:
    """The imported rows of these files, or why there are none."""
    paths = found(logs, files)
    if not paths:
        return "logs not at hand"
    with tempfile.TemporaryDirectory(prefix="rlm_eval_reproduced_") as folder:
        run = Path(folder) / "run"
        try:
            run_import(kind, paths, run, Options())
        except BadLog as error:
            return f"not readable: {error}"
        return pd.read_parquet(write_records(run))


def markdown(rows: Sequence[dict[str, Any]]) -> str:
    """The table."""
    words = {True: "yes", False: "NO", None: ""}
    head = [
        "source",
        "task",
        "method",
        "model",
        "metric",
        "published",
        "ours",
        "same",
        "command",
        "note",
    ]
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    for row in rows:
        shown = {**row, "same": words[row["same"]], "command": f"`{row['command']}`"}
        lines.append("| " + " | ".join(str(shown[name]) for name in head) + " |")
    return "\n".join(lines)


def main(arguments: Sequence[str]) -> int:
    """Print the table of what could be recomputed."""
    named = arguments[0] if arguments else os.environ.get(VARIABLE)
    if not named or not Path(named).is_dir():
        print(f"name the folder of the public logs, or set {VARIABLE}", file=sys.stderr)
        return 2
    rows = list(recomputed(Path(named), published()))
    print(markdown(rows))
    done = [row for row in rows if row["same"] is not None]
    same = sum(row["same"] for row in done)
    print(f"\n{same} of {len(done)} recomputed numbers agree; {len(rows) - len(done)} logs missing")
    return 0 if same == len(done) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
