"""Real runs for tests: an RLM on S-NIAH against the fake server, in this process or as a child.

The server plays root and sub-model by rules, so that every trajectory is deterministic: a first
turn that maps `llm_query_batched` over chunks, a second that finishes with what was found.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fake_server import FakeProcess

from rlm_eval.config.cell import Cell, build_cell, run_folder, sweep_budget
from rlm_eval.config.grid import expand
from rlm_eval.core.types import Outcome, Slice
from rlm_eval.records.build import rows
from rlm_eval.runner.runner import Runner
from rlm_eval.runner.signals import Signals
from rlm_eval.runner.summary import Summary
from rlm_eval.storage.journal import JournalReader

ROOT = Path(__file__).parents[2]

FIRST = """```python
chunks = [context[i : i + 1000] for i in range(0, len(context), 900)]
found = llm_query_batched([c + " KEY=\\1" for c in chunks])
print("FOUND=" + ([f for f in found if f != "none"] + ["0"])[0] + ".")
```"""
LAST = """```python
answer["content"] = "\\1"
answer["ready"] = True
```"""
RULES = [
    {"match": r"In every turn write.*FOUND=(\d+)\.", "reply": LAST},
    {"match": r"In every turn write.*numbers? for ([\w-]+) mentioned", "reply": FIRST},
    {"match": r"for (?P<k>[\w-]+) is: (\d+)\..*KEY=(?P=k)$", "reply": r"\2"},
    {"match": r"KEY=", "reply": "none"},
    {"match": r"for ([\w-]+) is: (\d+)\..*for \1 mentioned", "reply": r"\2"},
    {"match": "", "reply": "none"},
]
"""For `fake_server.rules`: root, sub-model, and a reader of the whole text."""


def server_process(folder: Path, *arguments: str) -> FakeProcess:
    """The fake server with `RULES` as a process of its own."""
    path = folder / "rules.json"
    path.write_text(json.dumps(RULES))
    return FakeProcess("--reply", str(path), *arguments)


def overrides(folder: Path, url: str, *more: str) -> list[str]:
    """A small cell whose results go under `folder`."""
    return [
        "task=s_niah",
        "method=rlm",
        "model@root=openai",
        "root.model=fake",
        f"root.base_url={url}",
        "root.backoff_s=0.01",
        "tokenizer=approx4",
        "length=2k",
        "n=4",
        "max_samples=2",
        "name=test",
        f"results={folder}",
        *more,
    ]


def cells_of(overrides: Sequence[str]) -> list[Cell]:
    return [build_cell(config) for config in expand(overrides)]


async def run_here(given: Sequence[str], redo: Sequence[Outcome] = ()) -> Summary:
    """Run the cells in this process, which handles signals as the command line does."""
    configs = expand(given)
    cells = [build_cell(config) for config in configs]
    run, budget = run_folder(configs[0]), sweep_budget(configs[0])
    return await Runner(run, cells, budget, redo, Signals()).run()


def start(given: Sequence[str], env: dict[str, str] | None = None) -> subprocess.Popen[str]:
    """`rlm-eval run` as a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "rlm_eval", "run", "--no-report", *given],
        env={**os.environ, "PYTHONPATH": str(ROOT), **(env or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def cell_folder(folder: Path) -> Path:
    (found,) = (folder / "test" / "cells").iterdir()
    return found


def records(folder: Path) -> list[dict[str, Any]]:
    """The records of a run's only cell."""
    return rows(cell_folder(folder))


def prompts_in(journal: Path, texts: dict[str, str]) -> list[str]:
    """The last message of every answered call; `texts` holds the contexts by hash."""

    def text(part: Slice | str) -> str:
        return part if isinstance(part, str) else texts[part.source][part.start : part.end]

    calls = JournalReader(journal)
    return [
        "".join(map(text, call.prompt.messages[-1][1]))
        for trajectory in calls
        for call in calls.of(trajectory)
        if call.error is None and not call.replayed
    ]


def contexts(given: Sequence[str]) -> dict[str, str]:
    """The contexts of the cells' samples by hash."""
    samples = [sample for cell in cells_of(given) for sample in cell.task.samples()]
    return {sample.context.hash: sample.context.text() for sample in samples}


def asked(log: Sequence[dict[str, Any]]) -> Counter[str]:
    """How often the server was sent each prompt; the preflight left out."""
    last = [entry["request"]["messages"][-1]["content"] for entry in log]
    return Counter(text for text in last if not text.startswith("Reply with the word"))
