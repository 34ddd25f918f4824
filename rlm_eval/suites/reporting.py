"""Report writing, shared by the commands, the Python interface and publications.

A report holds the digest of what it was made of (`INPUTS`), so that an unchanged one need not be
made again. Times of files would not tell: the clocks of two machines differ.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import rlm_eval
from rlm_eval.core.paths import write_atomic
from rlm_eval.records.record import FILE as RECORDS
from rlm_eval.storage import server_usage
from rlm_eval.storage.cell_store import BASELINES, output_folder
from rlm_eval.storage.lease import Lease
from rlm_eval.suites.plan_file import FILE as PLAN
from rlm_eval.suites.plan_file import read_record
from rlm_eval.suites.schema import files_of

if TYPE_CHECKING:
    from rlm_eval.config.contexts import ContextSource
    from rlm_eval.report.figures.draw import Shape


INPUTS = "inputs.sha256"
"""File of a report's folder: digest of what the report was made of."""
_OF_A_RUN = (
    RECORDS, PLAN, BASELINES, f"{server_usage.FOLDER}/*.json", "cells/*/manifest.json",
    f"cells/*/{BASELINES}",
)  # fmt: skip


def write_report(
    runs: Sequence[Path],
    out: Path,
    contexts: ContextSource,
    published: Path | None = None,
    shape: Shape | None = None,
    *,
    stored_names: bool = False,
) -> str:
    """Write tables, figures and the page about `runs` to the folder `out`; return `summary`.

    `published` is a file of published scores (columns of a suite's expected.csv); `shape` is the
    format of the figures; `stored_names` as in `load_records`. Concurrent writers of the same
    report are serialized. Raises `NoRecords` if no sample has ended.
    """
    from rlm_eval.report import report
    from rlm_eval.suites.comparisons import additions

    with Lease(output_folder(out), waits=True):
        made_of = inputs(runs)  # before it is read: a later change must make the report old
        (out / INPUTS).unlink(missing_ok=True)
        more = additions(runs, published)
        report(
            runs, out, context_of=contexts, additions=more, shape=shape, stored_names=stored_names
        )
        write_atomic(out / INPUTS, f"{made_of}\n".encode())
        return summary(out)


def is_current(runs: Sequence[Path], out: Path) -> bool:
    """Return whether the report in `out` was made of these runs as they are now."""
    told = out / INPUTS
    if not (told.is_file() and (out / "report.html").is_file()):
        return False
    return told.read_text(encoding="utf-8").strip() == inputs(runs)


def inputs(runs: Sequence[Path]) -> str:
    """Return the digest, in hex, of everything that a report about `runs` is made of.

    Records, plan, manifests, accounts of servers, baselines, the suite's files and the release.
    """
    digest = hashlib.sha256(rlm_eval.__version__.encode())
    for number, run in enumerate(runs):
        for path in _sources(run):
            name = path.relative_to(run) if path.is_relative_to(run) else path.name
            held = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None
            digest.update(f"{number} {name} {held}\n".encode())
    return digest.hexdigest()


def _sources(run: Path) -> Iterator[Path]:
    for pattern in _OF_A_RUN:
        yield from sorted(run.glob(pattern))
    if (record := read_record(run)) is not None:
        yield from files_of(record.suite)


def summary(out: Path) -> str:
    """Return the headline tables of a written report and its file locations, as text."""
    from rlm_eval.suites.paper_table import NAME as PAPER_TABLE

    figure = out / "figures" / "length_panels.png"
    shown = [
        path.read_text(encoding="utf-8").rstrip()
        for name in ("accuracy", "leaderboard", "planned", "published", PAPER_TABLE)
        if (path := out / "tables" / f"{name}.md").exists()
    ]
    score = "\n\n".join(shown)
    return f"{score}\n\nfigure: {figure}\ntables: {out / 'tables'}\npage:   {out / 'report.html'}"
