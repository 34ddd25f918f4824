"""results/published/<suite>/: the small files of a real run that this project shows as its own.

Copies, never computes: manifests, records (scalars only), tables, figures, the run card. Scripted
replies are refused. Cells that are not finished are left out, since the samples that end first are
no fair part of them, and counted in the README. Folders of this machine are named by what they are
(`{cache}`, `~`, `results/runs`).
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson

from rlm_eval.errors import RlmEvalError
from rlm_eval.paths import cache_dir
from rlm_eval.records import FILE as RECORDS
from rlm_eval.records import load_records
from rlm_eval.store import output_folder
from rlm_eval.suites.plan import FILE as PLAN
from rlm_eval.suites.plan import read_record
from rlm_eval.suites.schema import Suite

PUBLISHED = Path("results/published")
RUNS = Path("results/runs")
_MADE = ("cells", "report", RECORDS)  # of the run directory: what the published part has anew
LONGEST = 200
"""Characters of a record's text above which it is left out: replies are not published."""


def publish(run: Path, suite: Suite, root: Path = PUBLISHED) -> list[Path]:
    """Report on the finished cells and copy the small files to `root`/<suite>; returns them.

    What lay there stays until the new files are whole. Raises `RlmEvalError` for scripted replies,
    protected tasks' text, a run without a plan, one in which no cell is finished, or a `root` that
    cannot be written.
    """
    if read_record(run) is None:
        raise RlmEvalError(f"{run}: no {PLAN}: not a run of a suite; `rlm-eval suite NAME` first")
    out = output_folder(root, "publish from a checkout of your own") / suite.name
    with _finished(run) as whole, tempfile.TemporaryDirectory(prefix=".new-", dir=root) as aside:
        made = Path(aside) / suite.name
        names = [p.relative_to(made) for p in _publish(whole, suite, made, _Anywhere(run, whole))]
        if out.exists():
            shutil.rmtree(out)
        made.rename(out)
    return [out / name for name in names]


@contextmanager
def _finished(run: Path) -> Iterator[Path]:
    """The run as if its unfinished cells had not been begun: a folder of links."""
    done = sorted(path.parent for path in run.glob("cells/*/DONE"))
    if not done:
        raise RlmEvalError(f"{run}: no cell is finished: there is nothing to publish")
    with tempfile.TemporaryDirectory(prefix="rlm-eval-publish-") as folder:
        whole = Path(folder) / run.name
        (whole / "cells").mkdir(parents=True)
        for path in (*done, *(p for p in run.iterdir() if p.name not in _MADE)):
            (whole / path.relative_to(run)).symlink_to(path.absolute())
        yield whole


def _publish(run: Path, suite: Suite, out: Path, anywhere: _Anywhere) -> list[Path]:
    from rlm_eval.commands.report import make
    from rlm_eval.results import write_records

    write_records(run)
    records = load_records([run])
    if records["scripted"].any():
        raise RlmEvalError(f"{run}: scripted replies are no result and are not published")
    make([run], run / "report")
    out.mkdir()
    for name in records.select_dtypes(include=["string", "object"]):
        text = records[name].astype("string")
        if text.str.len().fillna(0).max() > LONGEST and name != "remark":
            records = records.drop(columns=name)
        else:
            records[name] = text.map(anywhere.told, na_action="ignore")
    records.to_parquet(out / RECORDS, index=False)
    manifest = out / "manifest.json"
    told = orjson.dumps(_manifest(run), option=orjson.OPT_INDENT_2).decode()
    manifest.write_text(anywhere.told(told), encoding="utf-8")
    written = [out / RECORDS, manifest]
    copied = [run / "report" / "CARD.md", run / PLAN]
    copied += sorted((run / "report" / "tables").glob("*.csv"))
    copied += sorted((run / "report" / "tables").glob("*.md"))
    copied += sorted(p for p in (run / "report" / "figures").iterdir() if p.suffix != ".pdf")
    for path in copied:
        inside = path.relative_to(run / "report" if path.name != PLAN else run)
        (out / inside).parent.mkdir(exist_ok=True)
        if path.suffix == ".png":
            shutil.copyfile(path, out / inside)
        else:
            (out / inside).write_text(anywhere.told(path.read_text("utf-8")), encoding="utf-8")
        written.append(out / inside)
    return [*written, _readme(out, run, suite)]


class _Anywhere:
    """Text as it reads on any machine."""

    def __init__(self, *runs: Path) -> None:
        manifests = [orjson.loads(path.read_bytes()) for run in runs for path in _manifests(run)]
        made = {Path(manifest["config"]["results"]) for manifest in manifests}
        results = made.union(run.parent.absolute() for run in runs)
        places = {Path.cwd(): ".", Path.home(): "~", cache_dir(): "{cache}"}
        places |= {place: str(RUNS) for place in results if place.is_absolute()}
        self._places = {str(place): word for place, word in places.items() if place != Path("/")}

    def told(self, text: str) -> str:
        """`text` without folders of this machine, the longest taken first."""
        for place in sorted(self._places, key=len, reverse=True):
            text = text.replace(place, self._places[place])
        return text


def _manifest(run: Path) -> dict[str, Any]:
    """The manifests of all cells; what they share stands once."""
    cells = {p.parent.name: orjson.loads(p.read_bytes()) for p in _manifests(run)}
    first = next(iter(cells.values()))
    shared = {k: v for k, v in first.items() if all(m.get(k) == v for m in cells.values())}
    own = {n: {k: v for k, v in m.items() if k not in shared} for n, m in cells.items()}
    return {"of every cell": shared, "cells": own}


def _manifests(run: Path) -> Iterator[Path]:
    return iter(sorted(run.glob("cells/*/manifest.json")))


def _readme(out: Path, run: Path, suite: Suite) -> Path:
    """What lies here, and what is missing from it."""
    done, planned = _progress(run)
    lines = [
        f"# {suite.name}: measured by this project",
        "",
        f"{suite.title}. {done} of {planned} cells are finished"
        + ("." if done == planned else ": the others are **not run**, or only in part."),
        "",
        f"- [CARD.md](CARD.md): what was run, on what, with which limits, and the command; "
        f"[the suite's card](../../../benchmarks/{suite.name}/README.md)",
        "- `tables/`: outcomes first, then scores, cost, latency, behaviour, comparisons",
        "- `figures/`: each with the CSV behind it",
        f"- `{RECORDS}`: one row per sample, without texts (the card's SHA-256 is that of the",
        "  whole table in the run directory); `manifest.json`: configuration, code, packages and",
        f"  machine of every cell; `{PLAN}`: the plan, written before the first call",
        "",
    ]
    path = out / "README.md"
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def _progress(run: Path) -> tuple[int, int]:
    """(finished, planned) cells of a suite's run."""
    record = read_record(run)
    places = record.places if record else []
    planned = {place.cell or place for place in places}
    done = {
        orjson.loads(path.read_bytes())["identity"]
        for path in _manifests(run)
        if (path.parent / "DONE").exists()
    }
    return len(done & planned), len(planned)


def state(name: str, root: Path = PUBLISHED, runs: Path = RUNS) -> str:
    """What was run of a suite with a real model, in words."""
    told = []
    if (path := root / name / "manifest.json").exists():
        cells = orjson.loads(path.read_bytes())
        facts = [{**cells["of every cell"], **own}["facts"] for own in cells["cells"].values()]
        # A fixed program has no root: its sub-model answers.
        models = {fact["root"] or fact["sub"] for fact in facts} - {None}
        told.append(f"published: {', '.join(sorted(models))}")
    if read_record(runs / name) is not None:
        done, planned = _progress(runs / name)
        told.append(f"run here: {done} of {planned} cells")
    return "; ".join(told) or "not yet run"
