"""Check without a model that tasks score as they should.

rlm-eval validate                                   every task whose data are available
rlm-eval validate s_niah ledger length=32k n=10     these tasks, with overrides as for `run`
rlm-eval validate task=custom task.path=my.jsonl    your own rows; also prints three samples
                                                    and how the scorers read them
"""

from __future__ import annotations

from collections.abc import Sequence

from rlm_eval.commands import command_parser


def main(argv: Sequence[str]) -> int:
    """Print the checks of each task; returns 1 where one failed."""
    parser = command_parser(__name__, __doc__)
    parser.add_argument(
        "tasks",
        nargs="*",
        metavar="TASK|KEY=VALUE",
        help="tasks, and overrides as for `rlm-eval run`",
    )
    arguments = parser.parse_args(argv)

    from rlm_eval.config import files
    from rlm_eval.config.cell import build_cell
    from rlm_eval.config.grid import expand
    from rlm_eval.core.errors import RlmEvalError
    from rlm_eval.tasks.validate import lines, passed, shown, validate

    given = [text for text in arguments.tasks if text.startswith("task=")]
    overrides = [text for text in arguments.tasks if "=" in text and text not in given]
    named = [text for text in arguments.tasks if "=" not in text]
    named += [name for text in given for name in text.removeprefix("task=").split(",")]
    names = named or files.names("task")
    good, missing = True, []
    for name in names:
        try:
            (config,) = expand([f"task={name}", "model@root=scripted", *overrides])
            cell = build_cell(config)
            proofs = validate(cell.task, cell.n)
            told = [] if cell.task.generated or cell.task.protected else shown(cell.task)
        except RlmEvalError as error:
            if named:
                raise
            missing.append(f"{name}: not checked: {error}")
            continue
        print("\n".join([*lines(cell.task.name, proofs), *told]), flush=True)
        good = good and passed(proofs)
    print("\n".join(missing))
    return 0 if good else 1
