"""Parse code blocks as weak models write them, for our own dialect. Pure functions.

Fences follow CommonMark (three or more backticks or tildes, closed by at least as many), plus the
variants that models produce. A fence inside a triple-quoted string does not end the block, as
Python's tokenizer determines. Every form other than a plain `python` or `repl` fence is listed in
the modes.
"""

from __future__ import annotations

import ast
import io
import re
import textwrap
import tokenize
from dataclasses import dataclass
from typing import NamedTuple

MODES = {
    "other_tag": "a fence tagged `python3`, `Python`, `py` or alike was taken as code",
    "untagged_block": "a fence without a tag was taken as code: it parses, and does something",
    "tilde_fence": "a fence of tildes was taken as code",
    "long_fence": "a fence of more than three marks was taken as code",
    "joined_fences": "a closing fence and the next opening one on one line were read as two",
    "short_fence": "a shorter fence than the opening one ended the block: its code parses",
    "indented_block": "the indentation of a block, as under a list, was removed",
    "fence_in_string": "a fence within a triple-quoted string did not end the block",
    "fence_on_code_line": "a closing fence on the last line of code ended the block",
    "words_beside_fence": "a fence with words before it, or behind the closing one, was read",
    "crlf": "line ends of Windows in a block were replaced",
    "code_on_fence_line": "code on the line of the opening fence was read",
    "interpreter_prompts": "`>>> ` or `In [1]: ` before code was removed, with the output",
    "quoted_block": "the `> ` of a quotation was removed before a block",
    "unclosed_block": "a last code fence that was never closed",
}
"""Parser modes of `find_blocks`; their counts become the trajectory's notes `parser_<mode>`."""

_LEAD = r"[ \t]*+(?:(?:[-*+]|\d{1,3}[.)])[ \t]++)?+"
# Possessive: a long line that does not match is read once, not once for each shorter part.
_OPEN = re.compile(
    rf"(?P<lead>{_LEAD})(?P<mark>`{{3,}}+|~{{3,}}+)[ \t]*+(?P<tag>[\w+.-]*+)(?P<rest>[^`]*+)"
)
_OPEN_BEHIND_WORDS = re.compile(r"[^`~]*[^`~\s][ \t]*(?P<mark>```)(?P<tag>[\w+.-]++)[ \t]*+")
_ONE_LINE = re.compile(rf"{_LEAD}(?P<mark>`{{3,}}+|~{{3,}}+)[ \t]*+(?P<tag>[\w+.-]++)[ \t]++")
_QUOTE = re.compile(r" {0,3}> ?")
_PROMPT = re.compile(r">>> ?|In \[\d*\]: ?")
_GOES_ON = re.compile(r">>> ?|In \[\d*\]: ?|(?:\.\.\.| *\.\.\.+:)(?: |$)")
_SAYS_CODE = re.compile(r"[(\[]|\w (?:[-+*/]?=) |^(?:import|from|del) |:$")
"""Code in the words after a fence's tag: a call, an assignment with usual spacing, a statement.
`title="a"`, `{.numbers}` and other attributes match none of these."""
_TAGS = {"python", "repl"}
_OTHER_TAG = re.compile(
    r"(?:python[23](?:\.\d+)?|py|py3|ipython3?|pycon|pyrepl|python-repl|jupyter|tool_code)",
    re.IGNORECASE,
)
_MAY_LEAVE_STRING = re.compile(r"\"{3}|'{3}|[{}]")
_MOST_GUESSES = 20
_MOST_CHARS = 500_000
"""Characters that may be read again in one reply, beyond `_PASSES` of it. An ordinary reply needs
less than one pass; a degenerate one, with thousands of fences, would need the square of its
length."""
_PASSES = 4


@dataclass(frozen=True, slots=True)
class Scan:
    """The code and the fences of a reply."""

    blocks: list[str]
    """Code of each block, in order."""
    modes: list[str]
    """Names of the `MODES` found."""
    fenced: list[tuple[int, int]]
    """(first line, line after the last), from 0, of each fenced part, whether it is code or not."""


@dataclass(slots=True)
class _Work:
    """Characters that the parser may still read again in this reply."""

    left: int

    def may_read(self, chars: int) -> bool:
        """Subtract `chars`; False where nothing was left."""
        if self.left <= 0:
            return False
        self.left -= chars
        return True


class _End(NamedTuple):
    """A possible end of a block."""

    stop: int
    """Index of the line after the block's last whole line."""
    last: str | None
    """The code before a fence in line `stop`."""
    after: int
    """Index of the line at which the search for the next block goes on."""
    modes: tuple[str, ...]
    opening: str | None = None
    """The opening fence in line `after`, where the closing one precedes it there."""


def _is_code(tag: str) -> bool:
    return tag.lower() in _TAGS or _OTHER_TAG.fullmatch(tag) is not None


def find_blocks(reply: str, *, cut: bool) -> tuple[list[str], list[str]]:
    """Return (code of each block in order, modes found); see `scan`."""
    found = scan(reply, cut=cut)
    return found.blocks, found.modes


def scan(reply: str, *, cut: bool) -> Scan:
    """Find the code blocks of a reply, and all its fences.

    `cut`: the reply stopped at its output limit; a last block without an end is then not code. The
    work is bounded by the reply's length: where a reply has too many possible ends of blocks, a
    block ends at its first fence, and words before a fence are prose.
    """
    lines = reply.replace("\r\n", "\n").split("\n")
    work = _Work(_MOST_CHARS + _PASSES * len(reply))
    found: list[tuple[str, list[str], bool]] = []
    fenced: list[tuple[int, int]] = []
    unclosed = False
    unquoted = at = 0
    while at < len(lines):
        line = lines[at].rstrip("\r")
        if (quote := _QUOTE.match(line)) and (depth := _opens_in_quotation(line, quote.end())):
            unquoted = max(unquoted, _unquote(lines, at, depth))
            continue
        at += 1
        if (whole := _one_line(line)) and _is_code(whole[1]):
            code, modes = _typed(whole[2].strip())
            if _parses(code):
                modes += _of_fence(whole[0], whole[1], quoted=at <= unquoted)
                found.append((code, [*modes, "code_on_fence_line"], True))
                fenced.append((at - 1, at))
                continue
        match = _OPEN.fullmatch(line) or _OPEN_BEHIND_WORDS.fullmatch(line)
        if match is None:
            continue
        tag = match["tag"]
        is_code = _is_code(tag)
        behind_words = match.re is _OPEN_BEHIND_WORDS
        if behind_words and (not is_code or work.left <= 0):
            continue  # prose that mentions fences
        lead = "" if behind_words else match["lead"]
        code, after, modes = _body(lines, at, match["mark"], len(lead.expandtabs()), work)
        code, typed = _typed(code)
        modes += typed
        if is_code and not behind_words and (head := match["rest"].strip()):
            both = _with_head(head, code)
            if both is not None:
                code, modes = both, ["code_on_fence_line"]
        if behind_words:
            if not (work.may_read(len(code)) and _parses(code)):
                continue  # prose that mentions fences
            modes.append("words_beside_fence")
        quoted = at <= unquoted
        fenced.append((at - 1, after))
        at = after
        if tag and not is_code:
            continue
        unclosed |= is_code and "unclosed_block" in modes
        if ("unclosed_block" in modes and cut) or not code.strip():
            continue
        modes += _of_fence(match["mark"], tag, quoted=quoted)
        found.append((code, modes, is_code))
    tagged = [(code, modes) for code, modes, is_code in found if is_code]
    # Next to tagged blocks the others are output or quoted text.
    tagged = [one for one in tagged if "quoted_block" not in one[1]] or tagged
    taken = tagged or [
        (code, [*modes, "untagged_block"]) for code, modes, _ in found if _does_something(code)
    ]
    shown = {mode for _, modes in taken for mode in modes}
    shown |= {"unclosed_block"} if unclosed else set()
    shown |= {"crlf"} if taken and "\r\n" in reply else set()
    return Scan([code for code, _ in taken], sorted(shown), fenced)


def _one_line(line: str) -> tuple[str, str, str] | None:
    """(mark, tag, code) of a whole block in one line."""
    head = _ONE_LINE.match(line)
    if head is None:
        return None
    mark, rest = head["mark"], line[head.end() :].rstrip(" \t")
    if rest.endswith((".", ":", ";", ",")):
        rest = rest[:-1].rstrip(" \t")
    code = rest.removesuffix(mark)
    has_code = len(code) < len(rest) and re.search(r"[^\s`~]", code)
    return (mark, head["tag"], code) if has_code else None


def _of_fence(mark: str, tag: str, *, quoted: bool) -> list[str]:
    """Modes of the fence itself."""
    shown = {
        "other_tag": bool(tag) and tag not in _TAGS,
        "tilde_fence": mark[0] == "~",
        "long_fence": len(mark) > 3,
        "quoted_block": quoted,
    }
    return [mode for mode, is_so in shown.items() if is_so]


def _opens_in_quotation(line: str, at: int) -> int:
    """Depth of the quotation in which a quoted line opens a block, else 0. `at`: behind its `>`."""
    depth = 1
    while quote := _QUOTE.match(line, at):
        at, depth = quote.end(), depth + 1
    return depth if _OPEN.fullmatch(line, at) or _one_line(line[at:]) else 0


def _unquote(lines: list[str], start: int, depth: int) -> int:
    """Remove up to `depth` marks `>` from the quotation's lines, in place; return its end's index.

    A line loses no more of them than the line before: with fewer, a nested quotation ends.
    """
    at = start
    while at < len(lines):
        line, end, removed = lines[at], 0, 0
        while removed < depth and (quote := _QUOTE.match(line, end)):
            end, removed = quote.end(), removed + 1
        if not removed:
            break
        lines[at], depth = line[end:], removed
        at += 1
    return at


def _typed(code: str) -> tuple[str, list[str]]:
    """(code, modes) of a block with an interpreter session: typed lines without output."""
    lines = code.split("\n")
    first = next((line for line in lines if line.strip() and line[0] != "#"), "")
    if not _PROMPT.match(first):
        return code, []
    typed = [line[found.end() :] for line in lines if (found := _GOES_ON.match(line))]
    return "\n".join(typed).strip("\n").rstrip(), ["interpreter_prompts"]


def _with_head(head: str, code: str) -> str | None:
    """Prepend the words after the fence's tag, where these are the code's first line."""
    if head.endswith(":"):
        code = textwrap.indent(code, "    ")
    both = f"{head}\n{code}" if code.strip() else head
    said = _SAYS_CODE.search(head) or (not code.strip() and _does_something(head))
    return both if said and _parses(both) else None


def _body(
    lines: list[str], start: int, mark: str, indent: int, work: _Work
) -> tuple[str, int, list[str]]:
    """(code, index of the line after the block, modes) of a block that opens before `start`.

    Where the line of its closing fence also opens the next block, `lines` keeps the opening fence.
    """
    first: _End | None = None
    end: _End | None = None
    guesses: list[_End] = []
    # Reading the code again is spared where nothing since the last fence can end its string.
    inside = seen_quotes = moved = False
    for at in range(start, len(lines)):
        line = lines[at]
        work.left -= len(line) + 1
        candidate = _end_at(line, at, mark) if mark in line else None
        if candidate is None:
            if mark[:3] in line and len(guesses) < _MOST_GUESSES:
                guesses += _guessed(line, at, mark)
        else:
            if candidate.last is not None:
                moved |= _MAY_LEAVE_STRING.search(candidate.last) is not None
                seen_quotes |= _has_triple_quotes(candidate.last)
            if seen_quotes and not (inside and not moved):
                code, was_indented = _dedented(_lines_of(lines, start, candidate), indent)
                inside = work.may_read(len(code)) and _in_string(code)
                moved = was_indented  # more lines may change the indentation that is removed
            if not inside:
                end = None if work.left <= 0 and first else candidate
                break
            first = first or candidate
            if work.left <= 0:
                break
        moved |= _MAY_LEAVE_STRING.search(line) is not None
        seen_quotes |= _has_triple_quotes(line)
    modes = ["fence_in_string"] if first is not None else []
    if end is None:  # an unclosed string contains no fence: the first fence ends the block
        modes = []
        end = first or _End(len(lines), None, len(lines), ("unclosed_block",))
    code, was_indented = _dedented(_lines_of(lines, start, end), indent)
    if "unclosed_block" not in end.modes:
        guesses = [guess for guess in guesses if "short_fence" not in guess.modes]
    if guesses and work.may_read(len(code)) and not _parses(code):
        # A fence with trailing words, outside any string, makes invalid code: it ended the block.
        for guess in guesses:
            other, other_indented = _dedented(_lines_of(lines, start, guess), indent)
            if not work.may_read(len(other)):
                break
            if _parses(other):
                code, was_indented, end = other, other_indented, guess
                break
    if was_indented:
        modes = [*modes, "indented_block"]
    if end.opening is not None:
        lines[end.after] = end.opening
    return code, end.after, [*modes, *end.modes]


def _end_at(line: str, at: int, mark: str) -> _End | None:
    """The end of the block that line `at` is, where it has `mark` and no words behind it."""
    bare = line.rstrip(" \t")
    before = bare.rstrip(mark[0])
    closes = len(bare) - len(before) >= len(mark)
    if closes and not before.strip(" \t"):
        return _End(at, None, at + 1, ())
    if (opening := _joined(line, mark)) is not None:
        return _End(at, None, at, ("joined_fences",), opening)
    opens = _OPEN.fullmatch(line)
    if opens is not None and _is_code(opens["tag"]):
        return _End(at, None, at, ("unclosed_block",))  # the next block begins here
    if closes and "#" not in before and before.replace(mark[0], "").strip():
        return _End(at, before.rstrip(), at + 1, ("fence_on_code_line",))
    return None


def _joined(line: str, mark: str) -> str | None:
    """The opening fence of code that stands directly behind the closing one: "``````python"."""
    behind = line.lstrip(" \t").removeprefix(mark).lstrip(" \t")
    opens = _OPEN.fullmatch(behind) if behind and mark in line.removesuffix(behind) else None
    if opens is None or not _is_code(opens["tag"]):
        return None
    return line[: len(line) - len(line.lstrip(" \t"))] + behind


def _guessed(line: str, at: int, mark: str) -> list[_End]:
    """The block if the marks in line `at` closed it: other words are there, or too few marks."""
    if mark not in line:
        is_fence = not line.replace(mark[0], "").strip(" \t")
        return [_End(at, None, at + 1, ("short_fence",))] if is_fence else []
    before, _, behind = line.partition(mark)
    if before.lstrip().startswith("#") or ("#" in before and behind.strip()):
        return []  # marks in a comment
    if before.strip():
        return [_End(at, before.rstrip(), at + 1, ("fence_on_code_line",))]
    # "```json" opens another block; "``` so" continues the prose.
    opens = behind[:1].isalnum()
    mode = "unclosed_block" if opens else "words_beside_fence"
    return [_End(at, None, at if opens else at + 1, (mode,))]


def _lines_of(lines: list[str], start: int, end: _End) -> list[str]:
    return lines[start : end.stop] + ([] if end.last is None else [end.last])


def _has_triple_quotes(text: str) -> bool:
    return '"""' in text or "'''" in text


def _dedented(lines: list[str], indent: int) -> tuple[str, bool]:
    """Remove the fence's indentation; return the code and whether any was removed."""
    cut = [line[min(indent, len(line) - len(line.lstrip(" \t"))) :] for line in lines]
    text = "\n".join(cut)
    head = next((line for line in cut if line.strip()), "")
    if head[:1] in (" ", "\t"):
        text = textwrap.dedent(text)
    return text.strip("\n").rstrip(), text != "\n".join(lines)


def _in_string(code: str) -> bool:
    """True where the code ends inside a triple-quoted string."""
    if not _has_triple_quotes(code):
        return False
    try:
        for _ in tokenize.generate_tokens(io.StringIO(code).readline):
            pass
    except (tokenize.TokenError, SyntaxError) as error:
        words = str(error)
        return "multi-line string" in words or "triple-quoted" in words
    return False


def _parses(code: str) -> bool:
    """True for code with a statement and without syntax errors."""
    try:
        return bool(ast.parse(code).body)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False


def _does_something(code: str) -> bool:
    """True for code with a statement or a call: bare names and numbers are quoted output."""
    try:
        tree = ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return any(
        not isinstance(node, ast.Expr) or isinstance(node.value, ast.Call | ast.Await)
        for node in tree.body
    )
