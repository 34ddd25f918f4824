"""Score a stored run again offline, with the current scorers.

rlm-eval score results/runs/scratch
rlm-eval score results/runs/scratch --scorer lenient
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rlm_eval.commands import TRUST, command_parser


def main(argv: Sequence[str]) -> int:
    """Score the stored answers of each cell, print the means, rebuild the records.

    No data set is read.
    """
    parser = command_parser(__name__, __doc__)
    parser.add_argument("run", type=Path, help="run directory")
    parser.add_argument(
        "--scorer", help="print the means of this scorer instead of the headline scorer"
    )
    parser.add_argument(
        "--score",
        choices=("theirs", "ours"),
        help="imported runs: score that becomes the headline, the log's or this package's",
    )
    parser.add_argument("--trust", action="store_true", help=TRUST)
    arguments = parser.parse_args(argv)

    from rlm_eval.core.messages import warn
    from rlm_eval.importers import scoring as imported_scoring
    from rlm_eval.records.build import cell_folders, write_records
    from rlm_eval.runner.score_runs import check_scorer, score_cell
    from rlm_eval.storage.cell_store import output_folder
    from rlm_eval.storage.lease import LeaseHeld

    held, folders = 0, cell_folders(arguments.run)
    imported = _is_imported(folders[0])
    if arguments.score and not imported:
        parser.error("--score applies to imported runs only")
    output_folder(arguments.run, "verdicts are added to its cells: copy the run to where they can")
    if arguments.scorer and imported:
        imported_scoring.check_scorer(arguments.scorer)
    elif arguments.scorer:
        check_scorer(arguments.scorer, folders, trust=arguments.trust)
    for folder in folders:
        try:
            means = (
                _score_imported(folder, arguments.scorer, arguments.score)
                if imported
                else score_cell(folder, trust=arguments.trust)
            )
        except LeaseHeld as error:  # one writer per cell: its run scores it
            warn(f"{folder.name}  not scored: {error}")
            held += 1
            continue
        wanted = arguments.scorer or next(iter(means), "")
        told = "not of this task" if means else "no sample has a score"
        told = f"{means[wanted]:.4f}" if wanted in means else told
        print(f"{folder.name}  {wanted}: {told}  ({', '.join(means)})")
    print(write_records(arguments.run))
    return 1 if held else 0


def _is_imported(folder: Path) -> bool:
    """True for a cell that `rlm-eval import` wrote: its task is not at hand."""
    from rlm_eval.storage.cell_store import read_manifest

    return bool(read_manifest(folder)["facts"].get("imported"))


def _score_imported(folder: Path, name: str | None, headline: str | None) -> dict[str, float]:
    from rlm_eval.importers.scoring import THEIRS, score_run_cell

    return score_run_cell(folder, None if name == THEIRS else name, headline)
