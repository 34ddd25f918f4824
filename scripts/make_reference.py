#!/usr/bin/env python3
"""Write docs/reference/*.md from the code: settings, columns, outcomes, codes, commands.

    python scripts/make_reference.py            writes the pages
    python scripts/make_reference.py --check    writes nothing; exit code 1 where a page differs

Settings come from the dataclasses that configs/**/*.yaml name (types, defaults, the string below
each field) and from the YAML files' comments. A setting or column without a meaning is an error.
"""

from __future__ import annotations

import argparse
import importlib
import re
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import yaml

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1])]

from reference_parts import (  # noqa: E402 - beside this script, which needs no installation
    CONFIGS,
    ROOT,
    NoMeaning,
    below,
    class_text,
    class_tree,
    code,
    configs,
    flat,
    locate,
    nested,
    section,
    settings_of,
    shown_value,
    table,
)

PAGES = ROOT / "docs" / "reference"
_GENERATED = "<!-- Written by scripts/make_reference.py; change the code, then run it again. -->\n"


# -- pages


def group_page(group: str, title: str, about: str) -> list[str]:
    """Settings of every class of a config group, and what each YAML sets."""
    found = configs(group)
    users: dict[type[Any], list[str]] = {}
    for config in found:
        for target in config.targets:
            users.setdefault(locate(target), []).append(code(config.name))
    for cls in list(users):
        for inner in nested(cls):
            users.setdefault(inner, [])
    lines = [f"# {title}", "", *textwrap.wrap(about, 118), "", "## Shipped configurations", ""]
    rows = []
    for config in found:
        first = next(iter(config.targets), "")
        sets = ", ".join(code(text) for text in flat(config.values)) or "nothing"
        about_ = config.about or (class_text(locate(first)) if first else "")
        if not about_:
            raise NoMeaning(f"configs/{group}/{config.name}.yaml: begin it with a comment")
        rows.append([code(f"{group}={config.name}"), first.rpartition(".")[2], about_, sets])
    lines += table(["name", "class", "what it is", "sets"], rows)
    for cls in sorted(users, key=lambda c: (not users[c], c.__name__)):
        lines += section(cls, names=list(dict.fromkeys(users[cls])))
    return lines


def run_page() -> list[str]:
    """configs/run.yaml with the classes of its nodes."""
    from rlm_eval.budget.limits import Limits
    from rlm_eval.cluster.jobs import Cluster
    from rlm_eval.repl import ReplConfig

    text = (CONFIGS / "run.yaml").read_text()
    comments = dict(re.findall(r"^(\w+):[^#\n]*#\s*(.+)$", text, re.M))
    groups = re.findall(r"^  - (?:optional )?([\w@]+): ([\w.-]+)(?:\s+#\s*(.+))?$", text, re.M)
    values = yaml.safe_load(text)
    lines = [
        "# Settings of a run", "",
        "Everything that `rlm-eval run` takes as `key=value`; the defaults are in",
        "`configs/run.yaml`. A key with a dot sets a part: `limits.calls=50`. An unknown key or a",
        "value of another type is an error. Settings marked *Run-time* change no result and are",
        "not part of a cell's identity.", "",
        "## Config groups", "",
    ]  # fmt: skip
    pages = {"task": "tasks.md", "method": "methods.md", "model": "models.md"}
    rows = []
    for name, default, about in groups:
        if name == "_self_":
            continue
        group = name.partition("@")[0]
        page = f"[{pages[group]}]({pages[group]})" if group in pages else ""
        meaning = about or GROUPS.get(group)
        if meaning is None:
            raise NoMeaning(f"configs/run.yaml: {name}: write a comment behind it")
        rows.append([code(name), code(default), meaning, page])
    lines += table(["group", "default", "meaning", "settings"], rows)
    lines += ["## Values", ""]
    rows = []
    for key, value in values.items():
        if key == "defaults":
            continue
        if key not in comments and key not in NODES:
            raise NoMeaning(f"configs/run.yaml: {key}: write a comment behind it")
        is_node = isinstance(value, dict) and bool(value)
        default = "see below" if is_node else shown_value(value)
        kind = TYPES.get(key) or ("node" if is_node else type(value).__name__)
        rows.append([code(key), kind, default, comments.get(key) or NODES[key]])
    lines += table(["setting", "type", "default", "meaning"], rows)
    lines += [
        "## limits, cell_budget, budget", "",
        "`limits` hold for one sample, `cell_budget` for one cell, `budget` for the run directory.",
        "",
    ]  # fmt: skip
    lines += table(["setting", "type", "default", "meaning"], settings_of(Limits))
    lines += section(ReplConfig, names=[code("repl")]) + section(Cluster, names=[code("cluster")])
    lines += ["## Shipped experiments", ""]
    shipped = [
        [code(f"{group}={config.name}"), config.about, ", ".join(map(code, flat(config.values)))]
        for group in ("experiment", "debug", "cluster")
        for config in configs(group)
    ]
    return lines + table(["name", "what it is", "sets"], shipped)


GROUPS = {
    "experiment": "A study: what differs from the defaults, and its grid.",
    "debug": "To try things without a model.",
    "local": "Defaults of your own for every run, in `configs/local/default.yaml`.",
}
TYPES = {
    "confirm_above": "float",
    "length": "int or str",
    "n": "int or null",
    "shard": "str or null",
    "sweep": "map of str",
}
"""Types of values that run.yaml does not show."""
NODES = {"repl": "The REPL of methods that run code: see ReplConfig below."}


def suites_page() -> list[str]:
    """suite.yaml and expected.csv."""
    from rlm_eval.suites.schema import Part, Planned, Published, Suite

    lines = [
        "# Settings of a suite", "",
        "`benchmarks/NAME/suite.yaml`; how suites work is in [suites](../suites.md).", "",
    ]  # fmt: skip
    for title, cls in (
        ("suite.yaml", Suite), ("An entry of `parts`", Part),
        ("An entry of `comparisons`", Planned), ("A row of expected.csv", Published),
    ):  # fmt: skip
        lines += [f"## {title}", "", class_text(cls), ""]
        lines += table(["setting", "type", "default", "meaning"], settings_of(cls))
    return lines


def columns_page() -> list[str]:
    """Columns of records.parquet and of a report's tables."""
    from rlm_eval.records import baselines
    from rlm_eval.records.call_patterns import METRICS
    from rlm_eval.records.columns import COLUMNS
    from rlm_eval.records.coverage import FAILURES
    from rlm_eval.report.tables.meanings import TABLES

    lines = [
        "# Columns", "",
        "## records.parquet", "",
        "One row per cell, sample and repeat. Null means unknown, never 0.", "",
        *table(["column", "type", "meaning"], [[code(k), *v] for k, v in COLUMNS.items()]),
        "Further columns, where there is something to record:", "",
    ]  # fmt: skip
    more = [
        ["score_*", "float", "Score under each scorer of the task, 0 to 1."],
        ["note_*", "any", "Notes of the method on the trajectory (docs/methods.md)."],
        ["meta_*", "any", "Facts of the sample from its task, such as a needle's position."],
        ["depth*_calls", "int", "Model calls at this depth, judges left out."],
        ["depth*_input_tokens", "int", "Prompt tokens of calls at this depth."],
        ["depth*_output_tokens", "int", "Completion tokens of calls at this depth."],
    ]
    for name, text in METRICS.items():
        kind = "str" if "label" in text else "float"
        more.append([f"habit_{name}", kind, f"{text[0].upper()}{text[1:]}."])
    for kind, name in baselines.COLUMNS.items():
        words = kind.replace("_", " ")
        more.append([name, "float", f"Score of the best {words} baseline on this sample."])
        more.append([baselines.NAMES[kind], "str", f"Name of the {words} baseline's rule."])
    more.append([baselines.READ, "float", "Share of the text that the skimmer read."])
    for percent, (score, read) in baselines.STEPS.items():
        text = f"the best skimmer that reads at most {percent} % of the text"
        more.append([score, "float", f"Score of {text}."])
        more.append([read, "float", f"Share of the text that it reads: {text}."])
    more.append([baselines.BY_CODE, "bool", "True where code solves the task by design."])
    lines += table(["column", "type", "meaning"], [[code(n), *rest] for n, *rest in more])
    lines += ["## Values of `failure`", ""]
    lines += table(["value", "meaning"], [[code(k), f"{v}."] for k, v in FAILURES.items()])
    for name, columns in TABLES.items():
        lines += [f"## tables/{name}.csv", ""]
        if name == "cells":
            lines += [
                "Every number of a report, unrounded: one row per task, length and series.",
                "",
            ]
        lines += table(["column", "meaning"], [[code(k), v] for k, v in columns.items()])
    return lines


def outcomes_page() -> list[str]:
    """Every outcome, with what follows from it."""
    from rlm_eval.core.outcomes import Outcome

    meanings = below(class_tree("rlm_eval.core.outcomes")["Outcome"])
    rows = []
    for outcome in Outcome:
        if outcome.name not in meanings:
            raise NoMeaning(f"core.outcomes.Outcome.{outcome.name}: write a string below it")
        follows = (
            "missing: not scored, redone by the same command" if outcome.is_missing
            else "scores 0" if outcome.scores_zero
            else "scored on what it holds; bounds where it exceeds 5 %" if outcome.gives_bounds
            else "scored"
        )  # fmt: skip
        rows.append([code(outcome.value), meanings[outcome.name], follows])
    return [
        "# Outcomes", "",
        "How a sample ended: the column `outcome`. `rlm-eval run --redo outcome=NAME` runs",
        "finished samples with that outcome again.", "",
        *table(["outcome", "meaning", "what follows"], rows),
    ]  # fmt: skip


def exit_codes_page() -> list[str]:
    """Exit codes of all commands."""
    from rlm_eval.core.exit_codes import EXIT_CODES, NEGATIVE_RESULTS

    return [
        "# Exit codes", "",
        *table(["code", "meaning"], [
            [str(int(k)), v.replace("see `NEGATIVE_RESULTS`", "see the table below")]
            for k, v in EXIT_CODES.items()
        ]),
        "A signal that ends a run gives 128 plus its number.", "",
        "## What 1 means", "",
        *table(["command", "1 means"], [[code(k), v] for k, v in NEGATIVE_RESULTS.items()]),
        "Other commands return 0 or 2.", "",
    ]  # fmt: skip


def variables_page() -> list[str]:
    """Environment variables."""
    from rlm_eval.core.variables import INTERNAL, VARIABLES

    return [
        "# Environment variables", "",
        *table(
            ["variable", "default", "meaning"],
            [[code(name), default, text] for name, (default, text) in VARIABLES.items()],
        ),
        "A setting may name further variables: `api_key_env`, `headers_env`, `canary_env`, and",
        "`${oc.env:NAME}` in a model's `headers`. Their values are never stored.", "",
        "Set by the package for its own processes, and not meant to be set by you:", "",
        *table(["variable", "what for"], [[code(k), v] for k, v in INTERNAL.items()]),
    ]  # fmt: skip


class _Parsed(Exception):
    """Carries a command's parser out of it."""

    def __init__(self, parser: argparse.ArgumentParser) -> None:
        self.parser = parser


def parser_of(module: Any) -> argparse.ArgumentParser:
    """The parser of a command: it is built, and nothing else of the command runs."""

    def parse(self: argparse.ArgumentParser, *_: object, **__: object) -> None:
        raise _Parsed(self)

    names = ("parse_args", "parse_intermixed_args", "parse_known_args")
    with mock.patch.multiple(argparse.ArgumentParser, **dict.fromkeys(names, parse)):
        try:
            module.main([])
        except _Parsed as found:
            return found.parser
    raise NoMeaning(f"{module.__name__}: main builds no argument parser")


def commands_page() -> list[str]:
    """Every command with its arguments and options."""
    from rlm_eval.cli import GLOBAL_OPTIONS, commands
    from rlm_eval.core.exit_codes import NEGATIVE_RESULTS

    lines = [
        "# Commands", "",
        "`rlm-eval COMMAND --help` prints the same. See also the [exit codes](exit_codes.md).", "",
        "## Options of every command", "",
        *table(["option", "meaning"], [[code(k), v] for k, v in GLOBAL_OPTIONS.items()]),
    ]  # fmt: skip
    for name, path in commands().items():
        module = importlib.import_module(f"rlm_eval.commands.{path.stem}")
        parser = parser_of(module)
        about, _, more = (parser.description or module.__doc__ or "").strip().partition("\n")
        lines += [f"## {name}", "", about, ""]
        if more.strip():
            lines += ["```text", textwrap.dedent(more).strip("\n"), "```", ""]
        rows = []
        for action in parser._actions:
            if isinstance(action, argparse._HelpAction):
                continue
            if not action.help:
                raise NoMeaning(f"{name}: {action.dest}: the option has no help")
            rows.append([code(_shown(action)), _default(action), action.help.replace("%%", "%")])
        lines += table(["argument or option", "default", "meaning"], rows) if rows else []
        if name in NEGATIVE_RESULTS:
            lines += [f"Exit code 1: {NEGATIVE_RESULTS[name]}", ""]
    return lines


def _shown(action: argparse.Action) -> str:
    metavar = action.metavar or "|".join(map(str, action.choices or ())) or action.dest.upper()
    assert isinstance(metavar, str)
    if not action.option_strings:
        return {"*": f"[{metavar} ...]", "+": f"{metavar} ...", "?": f"[{metavar}]"}.get(
            str(action.nargs), metavar
        )
    names = ", ".join(action.option_strings)
    return names if action.nargs == 0 else f"{names} {metavar}"


def _default(action: argparse.Action) -> str:
    if action.default in (None, False, []) or action.nargs == 0:
        is_needed = action.required and action.nargs not in ("*", "?")
        return "required" if is_needed else ""
    return code(str(action.default))


def index_page() -> list[str]:
    """List of the pages."""
    return [
        "# Reference", "",
        "Written from the code by `scripts/make_reference.py`; a test compares the two.", "",
        *(f"- [{title}]({name})" for name, title in TITLES.items()), "",
    ]  # fmt: skip


TITLES = {
    "run.md": "Settings of a run: groups, limits, REPL, cluster",
    "tasks.md": "Tasks and their settings",
    "methods.md": "Methods and their settings",
    "models.md": "Models, servers and their settings",
    "suites.md": "Settings of a suite",
    "commands.md": "Commands and their options",
    "columns.md": "Columns of records and tables",
    "outcomes.md": "Outcomes",
    "exit_codes.md": "Exit codes",
    "environment.md": "Environment variables",
}


TASKS = """Settings of `task=NAME`, as `task.KEY=VALUE`. The run sets `n`, `seed`, `length` and
`tokenizer`."""
METHODS = "Settings of `method=NAME`, as `method.KEY=VALUE`."
MODELS = (
    "Settings of `model@root=NAME`, as `root.KEY=VALUE`, and likewise of the slots `sub`, `judge`, "
    "`embed` and `summary`."
)


def pages() -> dict[str, str]:
    """File name -> text of every page. Raises `NoMeaning`."""
    made = {
        "index.md": index_page(),
        "run.md": run_page(),
        "tasks.md": group_page("task", "Tasks", TASKS),
        "methods.md": group_page("method", "Methods", METHODS),
        "models.md": group_page("model", "Models", MODELS),
        "suites.md": suites_page(),
        "commands.md": commands_page(),
        "columns.md": columns_page(),
        "outcomes.md": outcomes_page(),
        "exit_codes.md": exit_codes_page(),
        "environment.md": variables_page(),
    }  # fmt: skip
    return {name: _GENERATED + "\n".join(lines).rstrip("\n") + "\n" for name, lines in made.items()}


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the pages, or check them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; 1 where one differs")
    check = parser.parse_args(arguments).check
    made = pages()
    known = {path.name: path.read_text() for path in PAGES.glob("*.md")}
    differing = sorted(name for name in made.keys() | known if made.get(name) != known.get(name))
    if check:
        for name in differing:
            print(f"docs/reference/{name} differs: run python scripts/make_reference.py")
        return 1 if differing else 0
    PAGES.mkdir(parents=True, exist_ok=True)
    for name in known.keys() - made:
        (PAGES / name).unlink()
    for name, text in made.items():
        (PAGES / name).write_text(text)
    print(f"{len(made)} pages in {PAGES.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
