"""Searches that answer `codeqa_gen_changes` without running the source."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from rlm_eval.core.types import Sample
from rlm_eval.tasks.baselines import Baseline
from rlm_eval.tasks.rules import rule

_FILE = re.compile(r"^=== file: \w+/(\w+)\.py ===\n(.*?)(?=^=== file: )", re.MULTILINE | re.DOTALL)
_FUNCTION = re.compile(r"^def ([a-z]\w*)\(value\):\n((?:    .*\n|\n(?=    ))*)", re.MULTILINE)
_ASKED = re.compile(r"module `(\w+)` has the name `(\w+)`")


def _functions(sample: Sample) -> list[tuple[str, str, str, str]]:
    """(module, function, body, the module's source) of every function with one parameter."""
    return [
        (module, name, body, code)
        for module, code in _FILE.findall(sample.context.text())
        for name, body in _FUNCTION.findall(code)
    ]


def _where(wanted: Callable[[str, str, str, str], bool]) -> Callable[[Sample], str]:
    """The functions that `wanted` (name, body, state module, source) accepts."""

    def answer(sample: Sample) -> str:
        asked = _ASKED.search(sample.question)
        state, kept = (asked[1], asked[2]) if asked else ("", "")
        return ", ".join(
            f"{module}.{name}"
            for module, name, body, code in _functions(sample)
            if wanted(kept, body, state, f"{module}\n{code}")
        )

    return answer


every_function = _where(lambda *_: True)


def _near(code: str, state: str) -> bool:
    """True where the module defines or mentions the name."""
    return re.search(rf"\b{state}\b", code) is not None


def _writes(kept: str, body: str) -> bool:
    """True where the body calls a method of the name, or assigns or augments it or an item."""
    change = r"(?:\.(?:append|extend|insert|pop|sort)\(|(?:\[[^\]]*\])? *[-+]?= )"
    return re.search(rf"\b{kept}{change}", body) is not None


def change_baselines() -> Sequence[Baseline]:
    """All rules of this module."""
    return (
        rule("every_function", every_function),
        rule("global_name", _where(lambda kept, body, *_: f"global {kept}" in body)),
        rule(
            "global_name_near_the_module",
            _where(lambda kept, body, state, code: f"global {kept}" in body and _near(code, state)),
        ),
        rule("mentions_near_the_module",
             _where(lambda kept, body, state, code: kept in body and _near(code, state))),
        rule("writes_near_the_module",
             _where(lambda kept, body, state, code: _writes(kept, body) and _near(code, state))),
        rule("all_near_the_module", _where(lambda _, __, state, code: _near(code, state))),
    )  # fmt: skip
