"""Write tables, figures and one self-contained page about any set of runs.

rlm-eval report results/runs/a results/runs/b -o results/report
rlm-eval report results/runs/a --published benchmarks/rlm_paper_table1/expected.csv
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rlm_eval.commands import TRUST

if TYPE_CHECKING:
    from rlm_eval.records.build import ContextSource


def main(argv: Sequence[str]) -> int:
    """Re-make the records, then the report."""
    parser = argparse.ArgumentParser(
        prog="rlm-eval report",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("runs", nargs="+", type=Path, help="run directories")
    parser.add_argument("-o", "--out", type=Path, help="folder; default: report/ in the first run")
    parser.add_argument(
        "--published",
        type=Path,
        metavar="FILE",
        help="draw these published scores as hollow marks (columns as in a suite's expected.csv; "
        "a suite's run shows its own)",
    )
    parser.add_argument("--trust", action="store_true", help=TRUST)
    arguments = parser.parse_args(argv)

    from rlm_eval.records.build import ContextSource, write_records

    for run in arguments.runs:
        write_records(run)
    out = arguments.out or arguments.runs[0] / "report"
    contexts = ContextSource(trust=arguments.trust)
    print(make(arguments.runs, out, contexts, arguments.published))
    return 0


def make(
    runs: Sequence[Path], out: Path, contexts: ContextSource, published: Path | None = None
) -> str:
    """Write the report; what a person wants to know at once, as text.

    Processes that write the same one take turns.
    """
    from rlm_eval.report import report
    from rlm_eval.storage.cell_store import output_folder
    from rlm_eval.storage.lease import Lease
    from rlm_eval.suites.comparisons import additions

    with Lease(output_folder(out), waits=True):
        report(runs, out, context_of=contexts, additions=additions(runs, published))
        return told(out)


def told(out: Path) -> str:
    """What a written report says, and where it is."""
    figure = out / "figures" / "length_panels.png"
    shown = [
        path.read_text(encoding="utf-8").rstrip()
        for name in ("accuracy", "planned", "published")
        if (path := out / "tables" / f"{name}.md").exists()
    ]
    score = "\n\n".join(shown)
    return f"{score}\n\nfigure: {figure}\ntables: {out / 'tables'}\npage:   {out / 'report.html'}"
