"""Write tables, figures and one self-contained page about any set of runs.

rlm-eval report results/runs/a results/runs/b -o results/report
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path


def main(argv: Sequence[str]) -> int:
    """Re-make the records, then the report."""
    parser = argparse.ArgumentParser(
        prog="rlm-eval report",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("runs", nargs="+", type=Path, help="run directories")
    parser.add_argument("-o", "--out", type=Path, help="folder; default: report/ in the first run")
    arguments = parser.parse_args(argv)

    from rlm_eval.results import write_records

    for run in arguments.runs:
        write_records(run)
    print(make(arguments.runs, arguments.out or arguments.runs[0] / "report"))
    return 0


def make(runs: Sequence[Path], out: Path) -> str:
    """Write the report; what a person wants to know at once, as text."""
    from rlm_eval.report import report
    from rlm_eval.results import ContextSource

    report(runs, out, context_of=ContextSource())
    return told(out)


def told(out: Path) -> str:
    """What a written report says, and where it is."""
    figure = out / "figures" / "length_panels.png"
    score = (out / "tables" / "accuracy.md").read_text(encoding="utf-8").rstrip()
    return f"{score}\n\nfigure: {figure}\ntables: {out / 'tables'}\npage:   {out / 'report.html'}"
