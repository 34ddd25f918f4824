"""One module per command of `rlm-eval`; see `rlm_eval.cli`."""

from __future__ import annotations

import argparse

TRUST = (
    "import classes outside rlm_eval that the run's manifest names; only for runs that you made or "
    "have read"
)
"""Help of `--trust`, see `rlm_eval.config.trust`."""


def command_parser(
    module: str, doc: str | None, epilog: str | None = None
) -> argparse.ArgumentParser:
    """The parser of the command in this module, with the module's docstring as its help."""
    name = module.rpartition(".")[2].rstrip("_").replace("_", "-")
    return argparse.ArgumentParser(
        f"rlm-eval {name}",
        description=doc,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
