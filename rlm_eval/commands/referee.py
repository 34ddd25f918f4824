"""Review any run, imported ones too, on one page: artefacts, paired claims, printable claims.

rlm-eval referee results/runs/theirs
rlm-eval referee results/runs/a results/runs/b -o page --strict
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rlm_eval.commands import command_parser


def main(argv: Sequence[str]) -> int:
    """Rebuild the records, print the page, write `referee.md` and `referee.html`."""
    parser = command_parser(__name__, __doc__)
    parser.add_argument("runs", nargs="+", type=Path, help="run directories")
    parser.add_argument(
        "-o", "--out", type=Path, help="output folder (default: report/ in the first run)"
    )
    parser.add_argument("--strict", action="store_true", help="exit with 1 if there is an alarm")
    arguments = parser.parse_args(argv)

    from rlm_eval.core.terminal import printable
    from rlm_eval.records.build import write_records
    from rlm_eval.report.referee.evidence import Evidence
    from rlm_eval.report.referee.page import as_html, as_markdown, referee
    from rlm_eval.storage.cell_store import output_folder, write_whole

    for run in arguments.runs:
        if (run / "cells").exists():  # a published folder holds its records alone
            write_records(run)
    page = referee(Evidence.of(arguments.runs))
    out = output_folder(arguments.out or arguments.runs[0] / "report")
    text = as_markdown(page)
    write_whole(out / "referee.md", text.encode("utf-8", "replace"))
    write_whole(out / "referee.html", as_html(page).encode("utf-8", "replace"))
    print("\n".join(printable(line) for line in text.split("\n")))
    print(f"page: {out / 'referee.html'}")
    return 1 if arguments.strict and page.alarms else 0
