"""One cell under `@hydra.main`, for use with a custom Hydra launcher or sweeper.

    python -m rlm_eval.runner.hydra_app --multirun hydra/launcher=submitit_slurm length=4k,8k

`rlm-eval run` and `submit` do more: cells share servers, sweeps resume as a whole, one failing cell
stops no other, and an experiment's `sweep:` is expanded (here lists come on the command line).
Results go to the same run directory, Hydra's own files into its `hydra/`. All jobs share the run
directory's `budget`; their total expected cost is checked against `confirm_above` before the first
job starts (with a sweeper that chooses its own values: job by job).
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence

import hydra
from omegaconf import DictConfig

from rlm_eval.config.files import CONFIGS, extend_import_path, join_hydra
from rlm_eval.core.errors import ConfigError, EndedBySignal, RlmEvalError
from rlm_eval.core.messages import warn
from rlm_eval.core.secrets import guard_output

_OVERRIDE = re.compile(r"(?!hydra[./])[+~]*[A-Za-z_][\w.@/]*=")
_SAYS_ONLY = {"-c", "--cfg", "-h", "--help", "--hydra-help", "-i", "--info", "--version", "-sc"}
_SAYS_ONLY |= {"--shell-completion"}


@hydra.main(
    config_path=str(CONFIGS),
    config_name="hydra_app",
    version_base="1.3",
)
def main(config: DictConfig) -> None:
    """Run the cell. Raises `RlmEvalError` if it has samples without a result."""
    from rlm_eval.config.cell import build_cell, run_folder, sweep_budget
    from rlm_eval.config.environment import settle
    from rlm_eval.config.shape import check_shape
    from rlm_eval.runner.execution import confirm, confirmed_above
    from rlm_eval.runner.runner import Runner
    from rlm_eval.runner.signals import Signals

    settle(config)
    check_shape(config)
    if config.get("sweep"):
        raise ConfigError(
            f"sweep: {dict(config.sweep)}: `rlm-eval run` expands it; with Hydra's own launchers "
            "set sweep=null and give the lists on the command line with --multirun"
        )
    folder, cells = run_folder(config), [build_cell(config)]
    confirm(folder, cells, confirmed_above(config), yes=False, ask=False)
    runner = Runner(folder, cells, sweep_budget(config), signals=Signals())
    try:
        summary = runner.run_now()
    except EndedBySignal as error:  # not a job error: Hydra would start the next job
        warn(error)
        sys.exit(error.code)
    for name, why in summary.unfinished.items():
        if runner.stop.signal is not None:
            sys.exit(128 + runner.stop.signal)
        raise RlmEvalError(f"{name}: {why}")


def begin(arguments: Sequence[str]) -> list[str]:
    """Return the arguments for Hydra after checking the total cost of all jobs.

    Raises `ConfigError` if it exceeds `confirm_above`: then no job is started.
    """
    from rlm_eval.config.grid import with_fields

    fields = [with_fields([a])[0] if _OVERRIDE.match(a) else a for a in arguments]
    if not _SAYS_ONLY & {argument.partition("=")[0] for argument in arguments}:
        _confirm_together([a for a in arguments if _OVERRIDE.match(a)])
    return fields


def _confirm_together(overrides: Sequence[str]) -> None:
    from rlm_eval.config.cell import build_cell, run_folder
    from rlm_eval.config.grid import expand
    from rlm_eval.runner.execution import confirm, confirmed_above

    try:
        configs = expand(overrides)
    except ConfigError:  # sweeper syntax, or a mistake: Hydra reports which
        return
    cells = [build_cell(config) for config in configs]
    above = confirmed_above(configs[0])
    confirm(run_folder(configs[0]), cells, above, yes=False, ask=False)


if __name__ == "__main__":
    guard_output()
    try:
        join_hydra()
        extend_import_path()
        sys.argv[1:] = begin(sys.argv[1:])
        main()
    except RlmEvalError as error:
        sys.exit(f"rlm_eval.runner.hydra_app: {error}")
