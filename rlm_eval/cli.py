"""The command line: `rlm-eval COMMAND ...`. Each module of `rlm_eval.commands` is one command.

A command is a module with `main(argv) -> int`; the first line of its docstring is its help. It is
imported only when called, so that `--version` and `--help` import nothing heavy. The options common
to all commands (`--config-dir` and those of `core.messages`) are parsed here and removed from the
command's arguments.
"""

from __future__ import annotations

import ast
import difflib
import importlib
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rlm_eval import __version__
from rlm_eval.config.files import OPTION, chosen_on_command_line, extend_import_path
from rlm_eval.core import messages
from rlm_eval.core.errors import ConfigError, EndedBySignal, RlmEvalError
from rlm_eval.core.exit_codes import BAD_INPUT, DONE, INTERRUPTED
from rlm_eval.core.messages import fail
from rlm_eval.core.paths import FULL, REFUSED, cache_dir
from rlm_eval.core.secrets import guard_output

_FOLDER = Path(__file__).parent / "commands"
GLOBAL_OPTIONS = {
    f"{OPTION} DIR": "read YAML files of your own from DIR, in addition to ./configs",
    **messages.OPTIONS,
}
"""Option common to all commands -> its help."""


def commands() -> dict[str, Path]:
    """Command name -> path of its module."""
    files = sorted(p for p in _FOLDER.glob("*.py") if p.stem != "__init__")
    # A command whose name is a Python keyword has a module with a trailing `_`: `import_`.
    return {p.stem.rstrip("_").replace("_", "-"): p for p in files}


def _usage() -> str:
    known = commands()
    width = max(map(len, known))
    lines = [f"  {name:<{width}}  {_help_of(path)}" for name, path in known.items()]
    return "\n".join(
        [
            f"rlm-eval {__version__}: evaluation harness for Recursive Language Models",
            "",
            "usage: rlm-eval COMMAND ...   (rlm-eval COMMAND --help prints its options)",
            "",
            *lines,
            "",
            "options of every command:",
            *_options(),
        ]
    )


def _options() -> list[str]:
    """Help of the options common to all commands."""
    found = []
    for name, text in GLOBAL_OPTIONS.items():
        first, *more = textwrap.wrap(text, 74)
        found += [f"  {name:<18}  {first}", *(" " * 22 + line for line in more)]
    return found


def _help_of(path: Path) -> str:
    """First line of a module's docstring, parsed without importing the module."""
    return (ast.get_docstring(ast.parse(path.read_text())) or "").partition("\n")[0]


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code (`core.exit_codes`)."""
    guard_output()
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(_usage())
        return DONE
    if arguments[0] in ("-V", "--version"):
        print(f"rlm-eval {__version__}")
        return DONE
    name, rest = arguments[0], arguments[1:]
    known = commands()
    if name.startswith("-"):
        fail(f"rlm-eval: {name}: options come after the command (rlm-eval COMMAND {name} ...)")
        return BAD_INPUT
    if name not in known:
        near = difflib.get_close_matches(name, known, 3) or list(known)
        fail(f"rlm-eval: no command {name!r}; near: {', '.join(near)}")
        return BAD_INPUT
    module = importlib.import_module(f"rlm_eval.commands.{known[name].stem}")
    try:
        with messages.configured(rest) as unlogged:
            return _run(name, module, unlogged)
    except ConfigError as error:  # raised while parsing the common options
        fail(f"rlm-eval {name}: {error}")
        return BAD_INPUT


def _run(name: str, module: Any, arguments: list[str]) -> int:
    """Run a command; report its errors while its log file is still open."""
    try:
        with chosen_on_command_line(arguments) as own:
            extend_import_path()
            code: int = module.main(own)
    except EndedBySignal as error:
        fail(error)
        return error.code
    except RlmEvalError as error:
        fail(f"rlm-eval {name}: {error}")
        return BAD_INPUT
    except KeyboardInterrupt:
        fail(f"rlm-eval {name}: stopped")
        return INTERRUPTED
    except BrokenPipeError:
        return DONE  # the reader of the pipe closed it (`| head`)
    except OSError as error:
        if (next_step := _next_step(error)) is None:
            raise
        fail(f"rlm-eval {name}: {error}; {next_step}")
        return BAD_INPUT
    return code


def _next_step(error: OSError) -> str | None:
    """What the user can do about the error; `None` where it may be a bug."""
    if error.errno in FULL:
        return "free some disk space and run the same command again; finished samples are kept"
    place = Path(str(error.filename))  # empty, or a descriptor, where no path was opened
    if error.errno in REFUSED and place.is_relative_to(cache_dir()):
        return "set RLM_EVAL_CACHE=PATH to a folder that can be written"
    if isinstance(error, IsADirectoryError | NotADirectoryError):
        return "found a file in place of a folder, or the reverse: move it or choose another path"
    return None


if __name__ == "__main__":
    sys.exit(main())
