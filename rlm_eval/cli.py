"""The command line: `rlm-eval COMMAND ...`. Each module of `rlm_eval.commands` is one command.

A command is a module with `main(argv) -> int`; the first line of its docstring is its help. It is
imported only when called, so that `--version` and `--help` load nothing heavy.
"""

from __future__ import annotations

import ast
import difflib
import importlib
import sys
from collections.abc import Sequence
from pathlib import Path

from rlm_eval import __version__
from rlm_eval.core.errors import EndedBySignal, RlmEvalError
from rlm_eval.core.paths import FULL, REFUSED, cache_dir
from rlm_eval.core.secrets import guard_output
from rlm_eval.core.terminal import printable

_FOLDER = Path(__file__).parent / "commands"


def commands() -> dict[str, Path]:
    """Command name -> its module's file."""
    files = sorted(p for p in _FOLDER.glob("*.py") if p.stem != "__init__")
    return {p.stem.replace("_", "-"): p for p in files}


def _usage() -> str:
    known = commands()
    width = max(map(len, known))
    lines = [f"  {name:<{width}}  {_help_of(path)}" for name, path in known.items()]
    return "\n".join(
        [
            f"rlm-eval {__version__}: evaluation harness for Recursive Language Models",
            "",
            "usage: rlm-eval COMMAND ...   (rlm-eval COMMAND --help tells more)",
            "",
            *lines,
        ]
    )


def _help_of(path: Path) -> str:
    """First line of a module's docstring, read without importing it."""
    return (ast.get_docstring(ast.parse(path.read_text())) or "").partition("\n")[0]


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code: 0 done, 1 unfinished or negative, 2 bad input, and
    128 + its number where a signal ended it (130 = Ctrl-C).
    """
    guard_output()
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(_usage())
        return 0
    if arguments[0] in ("-V", "--version"):
        print(f"rlm-eval {__version__}")
        return 0
    name, rest = arguments[0], arguments[1:]
    known = commands()
    if name not in known:
        near = difflib.get_close_matches(name, known, 3) or list(known)
        print(f"rlm-eval: no command {name!r}; near: {', '.join(near)}", file=sys.stderr)
        return 2
    module = importlib.import_module(f"rlm_eval.commands.{known[name].stem}")
    try:
        code: int = module.main(rest)
    except EndedBySignal as error:
        print(error, file=sys.stderr)
        return error.code
    except RlmEvalError as error:
        print(printable(f"rlm-eval {name}: {error}"), file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"rlm-eval {name}: stopped", file=sys.stderr)
        return 130
    except BrokenPipeError:
        return 0  # the reader of a pipe (`| head`) has seen enough
    except OSError as error:
        if (told := _way_out(error)) is None:
            raise
        print(f"rlm-eval {name}: {error}; {told}", file=sys.stderr)
        return 2
    return code


def _way_out(error: OSError) -> str | None:
    """What the user can do about it; `None` = it may be a bug."""
    if error.errno in FULL:
        return "make room and run the same command again: nothing finished is lost"
    place = Path(str(error.filename))  # none, or a number, where no path was opened
    if error.errno in REFUSED and place.is_relative_to(cache_dir()):
        return "name a folder that can be written, for the cache: RLM_EVAL_CACHE=PATH"
    return None


if __name__ == "__main__":
    sys.exit(main())
