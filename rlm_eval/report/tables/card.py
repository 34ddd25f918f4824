"""CARD.md: contents of the run, machine, limits, and the command to rerun it."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from rlm_eval.records.build import outside_samples
from rlm_eval.records.record import FILE
from rlm_eval.report import wording
from rlm_eval.storage import published
from rlm_eval.storage.cell_folders import started_cells
from rlm_eval.storage.cell_store import read_manifest


def manifests(run_dirs: Sequence[Path]) -> list[dict[str, Any]]:
    """Return the manifests of every cell of these runs and published folders, in a fixed order.

    Raises `RlmEvalError` where one cannot be read.
    """
    found: list[dict[str, Any]] = []
    for run in run_dirs:
        if published.is_published(run):
            found += published.manifests(run).values()
        else:
            found += map(read_manifest, started_cells(run))
    return found


def card(told: Mapping[str, str], known: Sequence[Mapping[str, Any]], limits: Sequence[str]) -> str:
    """Return the text of the run card from the `facts`, the manifests and the caveats."""
    lines = ["# Run card", "", *(f"- **{title}**: {value}" for title, value in told.items())]
    lines += ["", "## Limits", "", *(f"- {limit}" for limit in limits)]
    commands = list(dict.fromkeys(" ".join(m.get("command", [])) for m in known))
    if commands:
        lines += ["", "## Run it again", "", "```", *commands, "```"]
    return "\n".join([*lines, ""])


def facts(
    run_dirs: Sequence[Path], table: pd.DataFrame, known: Sequence[dict[str, Any]]
) -> dict[str, str]:
    """Return title -> text: the facts of the run."""
    imported = bool(table["imported"].any())
    started = sorted(str(m["started"]) for m in known if m.get("started"))
    found = {
        "runs": ", ".join(run.name for run in run_dirs),
        "tasks": _names(table["task_label"]),
        "lengths": ", ".join(wording.tokens_label(x) for x in sorted(set(table["length"]))),
        "methods": _names(table["series"]),
        "models": _names(pd.concat([table["root"], table["sub"]])),
        "weights": "; ".join(dict.fromkeys(_weights(known))) or "not ours",
        "prompts": _names(table["prompt"]) or ("unknown" if imported else "none"),
        "samples": f"{table['n'].sum()} in {len(table)} cells, {wording.counted(table['n'])} each",
        "outcomes": _outcomes(table),
        "prices": _names(table["prices"].dropna()) or "none known",
        "sandbox": _names(table["isolation"].dropna())
        or ("unknown" if imported else "no code was run"),
        "started": f"{started[0]} to {started[-1]}" if started else "unknown",
        # Over all cells: a run may be resumed with other code, on another machine.
        "code": _each(map(_code, known)),
        "machine": _each(_pairs(m.get("machine", {})) for m in known),
        "packages": _each(_pairs(m.get("packages", {})) for m in known),
    }
    if files := _imported_files(known):
        found["imported from"] = files
    for run in run_dirs:
        label = f"{run.name}: " if len(run_dirs) > 1 else ""
        found |= {f"{label}{title}": told for title, told in outside_samples(run).items()}
        path = run / FILE
        if path.is_file():
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            found[f"SHA-256 of {run.name}/{FILE}"] = digest
    return found


def _imported_files(known: Sequence[Mapping[str, Any]]) -> str:
    """Return the files of imported cells with their hashes; empty for runs made here."""
    told: dict[str, None] = {}
    for manifest in known:
        about = manifest.get("imported") or {}
        for file in about.get("files", ()):
            told[f"{about['kind']}: {file['name']} ({file['rows']} rows) {file['sha256']}"] = None
    return "; ".join(told)


def _outcomes(table: pd.DataFrame) -> str:
    """Return the outcomes of all samples, most frequent first."""
    counts: Counter[str] = Counter()
    for cell in table["outcomes"]:
        for part in cell.split(" · "):
            name, _, count = part.rpartition(" ")
            counts[name] += int(count)
    return ", ".join(f"{name} {count}" for name, count in counts.most_common())


def _weights(known: Sequence[dict[str, Any]]) -> Iterator[str]:
    """Yield the weights served by our servers, with their revision or a note that it is unknown."""
    for manifest in known:
        for slot, info in manifest.get("endpoints", {}).items():
            if info.get("gpus") is not None:
                config = manifest.get("config", {})
                stated = config.get("root" if config.get(slot, {}).get("same") else slot, {})
                revision = info.get("revision") or stated.get("revision")
                told = revision or "unknown, so that no one can run it again"
                yield f"{slot}: {info.get('model')} on {info.get('version')}, revision {told}"


def _each(told: Iterable[str]) -> str:
    """Join the cells' texts, each once."""
    return "; ".join(dict.fromkeys(filter(None, told))) or "unknown"


def _code(manifest: Mapping[str, Any]) -> str:
    code = manifest.get("code", {})
    changed = " with uncommitted changes" if code.get("dirty") else ""
    revision = str(code.get("git") or "unknown")[:12]
    return f"rlm_eval {code.get('version', 'unknown')}, revision {revision}{changed}"


def _pairs(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())


def _names(values: pd.Series) -> str:
    return ", ".join(dict.fromkeys(str(v) for v in values if v))
