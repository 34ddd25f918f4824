"""Report writing, shared by the commands, the Python interface and publications."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rlm_eval.storage.cell_store import output_folder
from rlm_eval.storage.lease import Lease

if TYPE_CHECKING:
    from rlm_eval.config.contexts import ContextSource
    from rlm_eval.report.figures.draw import Shape


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
        more = additions(runs, published)
        report(
            runs, out, context_of=contexts, additions=more, shape=shape, stored_names=stored_names
        )
        return summary(out)


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
