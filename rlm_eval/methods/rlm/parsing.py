"""Parse a root model's reply: code blocks, FINAL tags, and parser modes.

Pure functions. The patterns of `repl` fences and FINAL tags are those of the official code
(github.com/alexzhang13/rlm); lenient parsing of blocks is in `blocks`. Every known pitfall is
counted (`MODES`), never silently repaired.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from rlm_eval.methods.rlm import blocks as blocks_module

MODES = blocks_module.MODES | {
    "no_block": "a reply without any code block and without an answer",
    "python_fence": "a python fence where only repl fences are executed",
    "final_in_fence": "a FINAL tag inside a code fence, or in code, was taken as the answer",
    "final_inline": "a FINAL tag in the middle of a line, which the protocol does not read",
    "final_cut_at_bracket": "the non-greedy pattern ended FINAL at its first closing bracket",
    "final_swallowed": "the greedy pattern took more than the balanced brackets of FINAL",
    "final_names_variable": "FINAL(name) where `name` is a variable: the name is the answer",
    "final_is_plan": "FINAL holds what the model means to do next",
    "final_var_unknown": "FINAL_VAR names a variable that does not exist",
    "final_in_answer_mode": "the variable `Final` was taken as the answer in `answer_dict` mode",
    "name_restored": "code replaced a name of the session, which was put back",
}
"""Parser modes; their counts become the trajectory's notes `parser_<mode>`."""

_REPL = re.compile(r"```repl\s*\n(.*?)\n```", re.DOTALL)
_FENCE = re.compile(r"```.*?(?:```|\Z)", re.DOTALL)
_PYTHON = re.compile(r"```(?:python|py)\s*\n")
_VAR = re.compile(r"^\s*FINAL_VAR\((.*?)\)", re.MULTILINE | re.DOTALL)
_GREEDY = re.compile(r"^\s*FINAL\((.*)\)\s*$", re.MULTILINE | re.DOTALL)
_SHORT = re.compile(r"^\s*FINAL\((.*?)\)", re.MULTILINE | re.DOTALL)
_ANYWHERE = re.compile(r"\bFINAL(?:_VAR)?\(")
_PLAN = re.compile(
    r"^\W*(?:(?:first|next|now),?\s+)?(?:I(?:'ll| will| need to| am going to| should)|let me|"
    r"we (?:will|need to|should)|the next step)\b",
    re.IGNORECASE,
)


class Blocks(StrEnum):
    """Fences that count as code."""

    REPL = "repl"
    """Only closed `repl` fences, as in the official code."""
    LENIENT = "lenient"
    """Fences as models write them (`blocks`); the last one may be unclosed where the model stopped
    before its output limit."""


@dataclass(frozen=True, slots=True)
class Tag:
    """A FINAL or FINAL_VAR tag."""

    content: str
    """The answer's text, or the variable's name."""
    is_variable: bool
    """True for FINAL_VAR."""


@dataclass(frozen=True, slots=True)
class Parsed:
    """The parsed content of one reply."""

    blocks: tuple[str, ...]
    """Code to run, in order."""
    tag: Tag | None
    """The FINAL tag, where the protocol reads tags."""
    modes: tuple[str, ...]
    """Names of the `MODES` found in this reply."""


def parse(
    reply: str, *, blocks: Blocks, tags: bool, greedy: bool = True, cut: bool = False
) -> Parsed:
    """Parse blocks and tag of `reply`; `cut` = the reply stopped at its output limit."""
    modes: list[str] = []
    code = _code(reply, blocks, cut, modes)
    tag = find_tag(reply, greedy, modes) if tags else None
    if not code and tag is None:
        modes.append("no_block")
        if _PYTHON.search(reply) and blocks is Blocks.REPL:
            modes.append("python_fence")
    return Parsed(tuple(code), tag, tuple(modes))


def _code(reply: str, blocks: Blocks, cut: bool, modes: list[str]) -> list[str]:
    if blocks is Blocks.REPL:
        if reply.count("```") % 2:
            modes.append("unclosed_block")
        return [match.group(1).strip() for match in _REPL.finditer(reply)]
    code, shown = blocks_module.find_blocks(reply, cut=cut)
    modes += shown
    return code


def find_tag(reply: str, greedy: bool, modes: list[str]) -> Tag | None:
    """Find a tag with the official pattern: FINAL_VAR first, at the start of a line."""
    match = _VAR.search(reply)
    is_variable = match is not None
    if match is None:
        match = (_GREEDY if greedy else _SHORT).search(reply)
    if match is None:
        if _ANYWHERE.search(_FENCE.sub("", reply)):
            modes.append("final_inline")
        return None
    start = match.start(1)
    if any(fence.start() < start < fence.end() for fence in _FENCE.finditer(reply)):
        modes.append("final_in_fence")
    content = match.group(1).strip()
    if is_variable:
        return Tag(content.strip('"').strip("'"), is_variable=True)
    balanced = _balanced(reply, start)
    if balanced is not None and len(match.group(1)) < len(balanced):
        modes.append("final_cut_at_bracket")
    if balanced is not None and len(match.group(1)) > len(balanced):
        modes.append("final_swallowed")
    if _PLAN.match(content):
        modes.append("final_is_plan")
    return Tag(content, is_variable=False)


def _balanced(text: str, start: int) -> str | None:
    """`text` from `start` up to the bracket that closes the one just before `start`."""
    depth = 1
    for at in range(start, len(text)):
        depth += {"(": 1, ")": -1}.get(text[at], 0)
        if depth == 0:
            return text[start:at]
    return None
