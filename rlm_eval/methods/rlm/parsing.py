"""Parse a root model's reply: code blocks, FINAL tags, and parser modes.

Pure functions. The patterns of `repl` fences and FINAL tags are those of the official code
(github.com/alexzhang13/rlm); lenient parsing of blocks is in `blocks`. Every known pitfall is
counted (`MODES`), never silently repaired.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from rlm_eval.methods.rlm import blocks as blocks_module

MODES = blocks_module.MODES | {
    "no_block": "a reply without any code block and without an answer",
    "python_fence": "a python fence where only repl fences are executed",
    "final_in_fence": "a FINAL tag inside a code fence: the answer in the official dialects",
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

_REPL = re.compile(r"```repl(\s*+)")
_FENCE = re.compile(r"```.*?(?:```|\Z)", re.DOTALL)
_PYTHON = re.compile(r"```(?:python|py)\s*\n")
# A tag begins a line. `\s*` would cross lines, and read a run of empty lines once for each of them.
_VAR = re.compile(r"^[^\S\n]*+FINAL_VAR\(", re.MULTILINE)
_FINAL = re.compile(r"^[^\S\n]*+FINAL\(", re.MULTILINE)
_TAG = re.compile(r"^[^\S\n]*+FINAL(_VAR)?\(", re.MULTILINE)
_LINE_END = re.compile(r"\)[^\S\n]*+$", re.MULTILINE)
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
    reply: str,
    *,
    blocks: Blocks,
    tags: bool,
    greedy: bool = True,
    cut: bool = False,
    outside_code: bool = False,
) -> Parsed:
    """Parse blocks and tag of `reply`; `cut` = the reply stopped at its output limit.

    `outside_code`, with `Blocks.LENIENT`: a tag ends at its own closing bracket, and is not read
    within a fence.
    """
    modes: list[str] = []
    tag = None
    if blocks is Blocks.REPL:
        code, fenced = _repl_blocks(reply, modes), []
    else:
        found = blocks_module.scan(reply, cut=cut)
        code, fenced = found.blocks, found.fenced
        modes += found.modes
    if tags:
        tag = (
            find_tag_outside(reply, fenced, modes)
            if outside_code
            else find_tag(reply, greedy, modes)
        )
    if not code and tag is None:
        modes.append("no_block")
        if _PYTHON.search(reply) and blocks is Blocks.REPL:
            modes.append("python_fence")
    return Parsed(tuple(code), tag, tuple(modes))


def _repl_blocks(reply: str, modes: list[str]) -> list[str]:
    r"""Return what the official pattern finds, "```repl\s*\n(.*?)\n```", in linear time."""
    if reply.count("```") % 2:
        modes.append("unclosed_block")
    found = []
    at = end = 0
    while opening := _REPL.search(reply, at):
        at = opening.end()
        start = reply.rfind("\n", opening.start(1), at) + 1
        if not start:
            continue
        if end >= 0:
            end = reply.find("\n```", start)
        stop = end
        if end < 0:  # no fence follows: the pattern then takes fewer empty lines as the fence's own
            stop = start - 1
            start = reply.rfind("\n", opening.start(1), stop) + 1
            if not start or not reply.startswith("\n```", stop):
                continue
        found.append(reply[start:stop].strip())
        at = stop + len("\n```")
    return found


def find_tag(reply: str, greedy: bool, modes: list[str]) -> Tag | None:
    """Find a tag with the official pattern: FINAL_VAR first, at the start of a line."""
    place = _official(reply, greedy)
    if place is None:
        if _ANYWHERE.search(_FENCE.sub("", reply)):
            modes.append("final_inline")
        return None
    start, end, is_variable = place
    if any(fence.start() < start < fence.end() for fence in _FENCE.finditer(reply)):
        modes.append("final_in_fence")
    content = reply[start:end]
    if not is_variable:
        balanced = _balanced(reply, start)
        if balanced is not None and len(content) < len(balanced):
            modes.append("final_cut_at_bracket")
        if balanced is not None and len(content) > len(balanced):
            modes.append("final_swallowed")
    return _tag(content, is_variable, modes)


def _official(reply: str, greedy: bool) -> tuple[int, int, bool] | None:
    r"""(start, end, is variable) of the content that the official patterns find.

    These are `^\s*FINAL_VAR\((.*?)\)` and `^\s*FINAL\((.*)\)\s*$` or, not greedy, the former with
    FINAL. Where the first tag has no end behind it, no later one has.
    """
    if opening := _VAR.search(reply):
        end = reply.find(")", opening.end())
        if end >= 0:
            return opening.end(), end, True
    if (opening := _FINAL.search(reply)) is None:
        return None
    start = opening.end()
    if greedy:
        end = max((match.start() for match in _LINE_END.finditer(reply, start)), default=-1)
    else:
        end = reply.find(")", start)
    return (start, end, False) if end >= 0 else None


def find_tag_outside(reply: str, fenced: Sequence[tuple[int, int]], modes: list[str]) -> Tag | None:
    """Find the first tag that has its closing bracket, at the start of a line outside the fences.

    `fenced`: as in `blocks.Scan`. Where no tag has its own bracket, the official pattern decides.
    """
    lines = reply.split("\n")
    for first, after in fenced:
        lines[first:after] = [" " * len(line) for line in lines[first:after]]
    prose = "\n".join(lines)
    closing = _brackets(prose)
    tags = [(tag.end(), tag[1] is not None) for tag in _TAG.finditer(prose)]
    complete = [(at, closing[at - 1], is_var) for at, is_var in tags if at - 1 in closing]
    place = complete[0] if complete else _official(prose, greedy=True)
    if place is not None:
        return _tag(reply[place[0] : place[1]], place[2], modes)
    if not tags and _TAG.search(reply):
        modes.append("final_in_fence")
    elif _ANYWHERE.search(prose):
        modes.append("final_inline")
    return None


def _brackets(text: str) -> dict[int, int]:
    """Position of each `(` that is closed -> that of its `)`."""
    found, open_ = {}, []
    for match in re.finditer(r"[()]", text):
        if match[0] == "(":
            open_.append(match.start())
        elif open_:
            found[open_.pop()] = match.start()
    return found


def _tag(content: str, is_variable: bool, modes: list[str]) -> Tag:
    content = content.strip()
    if is_variable:
        return Tag(content.strip('"').strip("'"), is_variable=True)
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
