"""Import logs of other programs as a run directory for report, compare, score, view and export.

rlm-eval import list
rlm-eval import rlms logs/ -o results/runs/theirs
rlm-eval import rows table.csv --map my_map.yaml -o results/runs/theirs
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from rlm_eval.commands import command_parser


def main(argv: Sequence[str]) -> int:
    """Import, print what was found, rebuild the records."""
    parser = command_parser(__name__, __doc__)
    parser.add_argument("kind", help="format or field map of the logs; `list` prints all of them")
    parser.add_argument("files", nargs="*", type=Path, help="log files, or folders of log files")
    parser.add_argument("-o", "--out", type=Path, metavar="RUN", help="run directory to create")
    parser.add_argument(
        "--map", type=Path, metavar="YAML", help="rows: field map (docs/importing.md)"
    )
    parser.add_argument(
        "--show-map", action="store_true", help="print the field map of this kind and exit"
    )
    parser.add_argument(
        "--golds", type=Path, metavar="JSON", help="rlms: gold answers by file name"
    )
    parser.add_argument("--task", help="name of the task if the log has none")
    parser.add_argument("--method", help="name of the method if the log has none")
    parser.add_argument("--scorer", help="scorer of this package that also scores the answers")
    parser.add_argument(
        "--score",
        choices=("theirs", "ours"),
        default="theirs",
        help="score that becomes the headline: the log's or this package's",
    )
    parser.add_argument(
        "--their-scorer",
        metavar="NAME",
        help="inspect, verifiers: the log's scorer whose score is taken; needed where logs differ",
    )
    parser.add_argument(
        "--last", action="store_true", help="keep the last of several differing rows of one sample"
    )
    arguments = parser.parse_args(argv)

    from rlm_eval.importers import fieldmap
    from rlm_eval.importers.rows import BadLog, Options
    from rlm_eval.importers.start import check_kind, known, run_import
    from rlm_eval.importers.writer import absent_on_error, check_place
    from rlm_eval.records.build import write_records

    if arguments.kind == "list":
        width = max(map(len, known()))
        print("\n".join(f"{name:<{width}}  {words}" for name, words in known().items()))
        return 0
    if arguments.show_map:
        if (path := fieldmap.maps().get(arguments.kind)) is None:
            raise BadLog(f"{arguments.kind} has no map; with one: {', '.join(fieldmap.maps())}")
        print(path.read_text(encoding="utf-8"), end="")
        return 0
    check_kind(arguments.kind)
    if not arguments.files or arguments.out is None:
        parser.error("give the log files, and a new run directory with -o RUN")
    check_place(arguments.out)
    with absent_on_error(arguments.out):
        done = run_import(
            arguments.kind,
            arguments.files,
            arguments.out,
            Options(
                arguments.map,
                arguments.golds,
                arguments.task,
                arguments.method,
                arguments.their_scorer,
            ),
            scorer=arguments.scorer,
            headline=arguments.score,
            last=arguments.last,
            command=[Path(sys.argv[0]).name, "import", *argv],
        )
        samples = {(t.sample) for cell in done.found.cells for t, _ in cell.results}
        print(
            f"{done.rows} rows of {len(done.files)} files: {len(samples)} samples in "
            f"{len(done.found.cells)} cells"
        )
        for line in done.found.told:
            print(f"- {line}")
        for line in differing(arguments.out):
            print(line)
        print(write_records(arguments.out))
    return 0


def differing(run: Path, most: int = 10) -> list[str]:
    """Lines on the answers whose stated score is not ours."""
    from rlm_eval.importers.scoring import disagreements, unstated
    from rlm_eval.records.build import cell_folders

    both, found = 0, []
    for folder in cell_folders(run):
        count, own = disagreements(folder)
        both += count
        found += own
    if not both and (alone := sum(map(unstated, cell_folders(run)))):
        return [f"- {alone} answers scored; the log states no score to set beside ours"]
    if not both:
        return ["- no answer could be scored again: no gold, or no built-in scorer fits (--scorer)"]
    lines = [f"- {both} answers scored again: {len(found)} of the stated scores differ from ours"]
    lines += [
        f"  {one.place}: theirs {one.stated:g}, {one.scorer} {one.ours:g}; gold "
        f"{str(one.target)[:40]!r}, answer {one.answer[-60:]!r}"
        for one in found[:most]
    ]
    return lines + ([f"  and {len(found) - most} more"] if len(found) > most else [])
