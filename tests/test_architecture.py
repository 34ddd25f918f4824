"""The house rules that a reader relies on: who may import whom, sizes, what loads when."""

import ast
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

import rlm_eval

PACKAGE = Path(rlm_eval.__file__).parent
MODULES = {
    ".".join(("rlm_eval", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(
        ".__init__"
    ): path
    for path in sorted(PACKAGE.rglob("*.py"))
}

CORE = {"core", "protocols"}
ALLOWED = {
    "core": set(),
    "protocols": {"core"},
    "scoring": CORE,
    "repl": CORE,
    "stats": CORE,
    "models": CORE,
    "tasks": CORE | {"scoring"},
    "budget": CORE,
    "storage": CORE | {"budget", "models"},
    "session": CORE | {"budget", "models", "repl", "storage"},
    "methods": CORE | {"repl"},
    "config": CORE | {"budget", "methods", "models", "repl", "storage", "tasks"},
    "records": CORE | {"budget", "config", "methods", "storage", "tasks"},
    "report": CORE | {"budget", "importers", "records", "stats", "storage"},
    "suites": CORE | {"config", "records", "report", "stats", "storage"},
    "runner": CORE | {
        "budget", "config", "methods", "models", "records", "repl", "session", "stats", "storage",
        "suites", "tasks",
    },
    "cluster": CORE | {"budget", "config", "models", "runner", "storage"},
    "importers": CORE | {"records", "scoring", "storage"},
    "commands": CORE | {
        "budget", "cluster", "config", "importers", "models", "records", "repl", "report", "runner",
        "scoring", "session", "storage", "suites", "tasks",
    },
}  # fmt: skip
"""Room -> the rooms of ours that it may import. Every room is here: a new one is added on purpose.
"""

FRONT = {"", "__main__", "api", "cli"}
"""Modules of the root folder: the public interface and the command line may import any room."""

HEAVY = {
    "aiohttp", "bm25s", "datasets", "hydra", "matplotlib", "numpy", "omegaconf", "pandas",
    "pyarrow", "scipy", "statsmodels", "tiktoken", "torch", "transformers", "vllm", "xllamacpp",
}  # fmt: skip


def room(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


def imports(module: str, *, types: bool = True) -> set[str]:
    """Modules of ours that a module imports anywhere; `types`: also those for type checking."""
    tree = ast.parse(MODULES[module].read_text())
    typing_only = {
        id(node)
        for branch in ast.walk(tree)
        if isinstance(branch, ast.If) and ast.unparse(branch.test) == "TYPE_CHECKING"
        for node in ast.walk(branch)
    }
    found = set()
    for node in ast.walk(tree):
        if id(node) in typing_only and not types:
            continue
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("rlm_eval"):
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in MODULES else node.module for name in inner}
        elif isinstance(node, ast.Import):
            found |= {a.name for a in node.names if a.name.startswith("rlm_eval")}
    return found - {module}


IMPORTS = {
    # What a package's own file imports for type checking alone are names that it loads lazily.
    module: imports(module, types=path.name != "__init__.py")
    for module, path in MODULES.items()
}


def in_circles(graph: dict[str, set[str]]) -> set[str]:
    """Nodes that reach themselves: leaves are taken away until none is left."""
    left = {node: set(to) for node, to in graph.items()}
    for _ in range(2):  # from below, then from above
        while leaves := {node for node, to in left.items() if not to & left.keys()}:
            left = {node: to for node, to in left.items() if node not in leaves}
        left = {node: {at for at in left if node in left[at]} for node in left}
    return set(left)


def test_every_room_is_in_the_table_and_the_root_folder_is_short():
    entries = {p.stem for p in PACKAGE.iterdir() if not p.name.startswith(("_", "."))}
    folders = {p.name for p in PACKAGE.iterdir() if (p / "__init__.py").exists()}
    assert folders <= ALLOWED.keys(), "name the room in ALLOWED, and say what it may import"
    assert entries - folders <= FRONT | {"protocols", "py"}, "a module belongs into a room"
    assert len([p for p in PACKAGE.iterdir() if p.name != "__pycache__"]) <= 24


def test_imports_point_one_way():
    against = {
        (module, room(name))
        for module, names in IMPORTS.items()
        for name in names
        if room(module) in ALLOWED and room(name) not in {room(module), "", *ALLOWED[room(module)]}
    }
    assert against == set()


def test_rooms_and_modules_form_no_circle():
    assert in_circles(IMPORTS) == set()
    rooms = {name: set(inner) & ALLOWED.keys() for name, inner in ALLOWED.items()}
    assert in_circles(rooms) == set()


def rooms_of_the_page() -> str:
    """The list of rooms for docs/architecture.md: the first sentence of each room's docstring."""
    lines = ["| room | what it is |", "|---|---|"]
    for name in ALLOWED:
        if f"rlm_eval.{name}" in MODULES:
            said = ast.get_docstring(ast.parse(MODULES[f"rlm_eval.{name}"].read_text())) or ""
            lines.append(f"| `{name}` | {said.partition(chr(10) * 2)[0].replace(chr(10), ' ')} |")
    return "\n".join(lines) + "\n"


def test_the_page_lists_the_rooms():
    page = (PACKAGE.parent / "docs" / "architecture.md").read_text()
    assert rooms_of_the_page() in page, f"put this list there:\n{rooms_of_the_page()}"
    assert len(page.splitlines()) <= 120


def test_few_arrows_are_drawn_between_rooms():
    arrows = {(room(a), room(b)) for a, names in IMPORTS.items() for b in names}
    assert len({(a, b) for a, b in arrows if a != b}) <= 100


def test_a_report_loads_no_method_task_model_or_repl():
    code = (
        "import importlib, pkgutil, sys, rlm_eval.report as report\n"
        "for module in pkgutil.walk_packages(report.__path__, 'rlm_eval.report.'):\n"
        "    importlib.import_module(module.name)\n"
        "print(*{name.split('.')[1] for name in sys.modules if name.startswith('rlm_eval.')})\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "report" in loaded
    assert not loaded & {"methods", "tasks", "models", "repl", "session", "runner", "config"}


def test_modules_fit_on_a_few_screens():
    lines = {name: len(path.read_text().splitlines()) for name, path in MODULES.items()}
    too_long = {name: count for name, count in lines.items() if count > 400}
    assert not too_long
    assert statistics.median(lines.values()) <= 200


@pytest.mark.parametrize("module", MODULES)
def test_every_module_says_what_it_is(module):
    assert ast.get_docstring(ast.parse(MODULES[module].read_text()))


@pytest.mark.parametrize("arguments", [["--version"], ["--help"], ["no-such-command"]])
def test_the_command_line_loads_nothing_heavy_before_it_is_used(arguments):
    code = (
        "import sys; from rlm_eval.cli import main; main(sys.argv[1:]); "
        f"print(sorted(set(sys.modules) & {HEAVY!r}), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True
    )
    assert done.stderr.splitlines()[-1] == "[]"


def test_only_the_session_calls_a_model():
    callers = {
        name
        for name, path in MODULES.items()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "complete"
    }
    assert {c for c in callers if room(c) != "models"} == {"rlm_eval.session.session"}


def test_no_method_but_the_floor_reads_the_gold():
    readers = {
        name
        for name, path in MODULES.items()
        if room(name) == "methods"
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and node.attr == "target"
    }
    assert readers <= {"rlm_eval.methods.floor"}


def test_nothing_but_the_command_line_imports_a_command():
    """What is useful lives in the library: a command parses its arguments and calls it."""
    users = {
        name
        for name, inner in IMPORTS.items()
        if any(found.startswith("rlm_eval.commands") for found in inner)
    }
    assert {name for name in users if room(name) != "commands"} == set()
