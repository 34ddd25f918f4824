"""One cell under `@hydra.main`, for those who bring a Hydra launcher or sweeper of their own.

    python -m rlm_eval.hydra_app --multirun hydra/launcher=submitit_slurm length=4k,8k method=rlm

`rlm-eval run` and `submit` do more: cells share servers, sweeps resume as a whole, one failing cell
stops no other, and an experiment's `sweep:` is expanded (here lists come on the command line).
Results go to the same run directory, Hydra's own files into its `hydra/`.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import hydra
from omegaconf import DictConfig

from rlm_eval.errors import ConfigError, RlmEvalError
from rlm_eval.secrets import guard_output


@hydra.main(
    config_path=str(Path(__file__).parent.parent / "configs"),
    config_name="hydra_app",
    version_base="1.3",
)
def main(config: DictConfig) -> None:
    """Run the cell. Raises `RlmEvalError` where it has samples without a result."""
    from rlm_eval.cell import build_cell, run_folder, sweep_budget
    from rlm_eval.environment import settle
    from rlm_eval.run import Runner

    settle(config)
    if config.get("sweep"):
        raise ConfigError(
            f"sweep: {dict(config.sweep)}: `rlm-eval run` expands it; with Hydra's own launchers "
            "set sweep={} and give the lists on the command line with --multirun"
        )
    runner = Runner(run_folder(config), [build_cell(config)], sweep_budget(config))
    summary = asyncio.run(runner.run())
    for name, why in summary.unfinished.items():
        raise RlmEvalError(f"{name}: {why}")


if __name__ == "__main__":
    guard_output()
    try:
        main()
    except RlmEvalError as error:
        sys.exit(f"rlm_eval.hydra_app: {error}")
