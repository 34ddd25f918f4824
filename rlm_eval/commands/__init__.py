"""One module per command of `rlm-eval`; see `rlm_eval.cli`."""

from __future__ import annotations

import argparse
from typing import Any

TRUST = (
    "import classes outside rlm_eval that the run's manifest names; only for runs that you made or "
    "have read"
)
"""Help of `--trust`, see `rlm_eval.config.trust`."""


class _Parser(argparse.ArgumentParser):
    """A parser that shows positional arguments in capitals and singular: `RUN [RUN ...]`."""

    def add_argument(self, *names: Any, **settings: Any) -> argparse.Action:
        """As in `argparse`."""
        if settings.get("nargs") == "*":
            settings.setdefault("default", [])  # without it an error lists it as required
        action = super().add_argument(*names, **settings)
        if not action.option_strings and action.metavar is None:
            action.metavar = action.dest.removesuffix("s").upper()
        return action


def command_parser(
    module: str, doc: str | None, epilog: str | None = None
) -> argparse.ArgumentParser:
    """The parser of the command in this module, with the module's docstring as its help."""
    name = module.rpartition(".")[2].rstrip("_").replace("_", "-")
    return _Parser(
        f"rlm-eval {name}",
        description=doc,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
