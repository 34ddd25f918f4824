"""Known usage of trajectories: published figures and our own records, scaled to a cell.

`data/expectations.json` (made by `scripts/make_expectations.py`) has one row per method family,
task density, context length and root model: calls and tokens of a mean sample, with the source.
Only rows of the cell's own root model are used; without one, all rows near its length.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from rlm_eval.core.types import Density
from rlm_eval.methods import Method
from rlm_eval.methods.codeact import CodeAct
from rlm_eval.methods.external import External
from rlm_eval.methods.long_context import LongContext
from rlm_eval.methods.program import Program
from rlm_eval.methods.rag import Rag
from rlm_eval.methods.react import React
from rlm_eval.methods.rlm import RLM
from rlm_eval.methods.summary_agent import SummaryAgent

_FILE = Path(__file__).parent / "data" / "expectations.json"
_READERS = ("long_context", "codeact", "codeact_sub", "summary", "map")
"""Families whose prompts contain the context: they grow with it."""
_NEAR = 1.5
"""Octaves of length by which a row may be farther away than the nearest one."""
_SPREAD = 2.0
"""Uncertainty factor of a mean over tens of samples with a standard deviation of 1 to 2 means."""


@dataclass(frozen=True)
class Used:
    """Usage of one model by a mean sample."""

    calls: float
    input: float
    """Prompt tokens of all calls."""
    output: float
    """Completion tokens of all calls."""

    def times(self, factor: float) -> Used:
        """Return this usage multiplied by `factor`."""
        return Used(self.calls * factor, self.input * factor, self.output * factor)

    def plus(self, other: Used) -> Used:
        """Return the sum of both usages."""
        return Used(self.calls + other.calls, self.input + other.input, self.output + other.output)


@dataclass(frozen=True)
class Row:
    """A known figure, scaled to the requested context length."""

    used: Mapping[str, Used]
    """Usage by `root` and `sub`."""
    spread: float
    """Factor of uncertainty on either side."""
    source: str
    octaves: float = 0.0
    """Doublings between its own context length and the requested one."""


@dataclass(frozen=True)
class Speed:
    """Prompt and completion tokens per second of a model that the harness starts."""

    expected: float
    slowest: float
    fastest: float
    source: str
    """Source of the measurement."""


def family(method: Method) -> str | None:
    """Return the method's family in the data file; `None` = no figures for such a method."""
    match method:
        case RLM():
            return "rlm" if method.depth == 1 else f"rlm_d{min(method.depth, 3)}"
        case External():
            return "rlm"
        case CodeAct():
            own = "codeact_sub" if method.sub_calls else "codeact"
            return own if method.context_in_prompt else "codeact_bm25"
        case Program():
            return "map" if method.program == "map" else None
    known = {LongContext: "long_context", Rag: "rag", React: "react", SummaryAgent: "summary"}
    return known.get(type(method))


def typical_context(task: str) -> int | None:
    """Return the mean context tokens of an unavailable data set, by the task's class name."""
    found: int | None = _data()["contexts"].get(task)
    return found


def rows(
    of: str | None, density: Density, context: int, root: str | None
) -> tuple[list[Row], bool]:
    """Return the rows for a family at a context of this many tokens; whether from that root model.

    Rows of the task's density if there are any, else of all densities.
    """
    own = [row for row in _data()["rows"] if row["family"] == of]
    own = [row for row in own if row["density"] == density] or own
    named = [row for row in own if root is not None and row["root"] == root.removesuffix("-vllm")]
    found = named or own
    if not found:
        return [], False
    far = [abs(math.log2(context / row["context"])) for row in found]
    near = [(row, at) for row, at in zip(found, far, strict=True) if at <= min(far) + _NEAR]
    return [_scaled(row, density, context, at) for row, at in near], bool(named)


def speed_of(model: str) -> Speed | None:
    """Return the measured speed of a model; `None` if it was not measured."""
    for one in _data()["speeds"]:
        if model in one["models"]:
            source = f"{one['hardware']}; {one['source']}"
            return Speed(one["tokens_per_second"], one["slowest"], one["fastest"], source)
    return None


def _scaled(row: Mapping[str, Any], density: Density, context: int, octaves: float) -> Row:
    kept: str = row["family"]
    ratio = context / row["context"]
    reads = kept in _READERS
    maps = kept.startswith("rlm") and density is not Density.CONSTANT
    used = {}
    for slot, (calls, prompt, completion) in row["used"].items():
        one = Used(calls, prompt, completion)
        if slot == "sub" and (reads or maps):
            one = one.times(ratio)  # a call reads a piece of a fixed size
        elif slot == "root" and reads:
            one = Used(calls, prompt * ratio, completion)
        used[slot] = one
    return Row(used, _SPREAD * 2 ** (max(0.0, octaves - 1) / 2), row["source"], octaves)


@cache
def _data() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(_FILE.read_text())
    return found
