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

MODES = {
    "other_tag": "a fence tagged `python3`, `Python`, `py` or alike was taken as code",
    "untagged_block": "a fence without a tag was taken as code: it parses, and does something",
    "tilde_fence": "a fence of tildes was taken as code",
    "long_fence": "a fence of more than three marks was taken as code",
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

_OPEN = re.compile(
    r"(?P<lead>[ \t]*(?:(?:[-*+]|\d{1,3}[.)])[ \t]+)?)(?P<mark>`{3,}|~{3,})[ \t]*(?P<tag>[\w+.-]*)"
    r"(?P<rest>[^`]*)"
)
_OPEN_BEHIND_WORDS = re.compile(r"[^`~]*[^`~\s][ \t]*(?P<mark>```)(?P<tag>[\w+.-]+)[ \t]*")
_ONE_LINE = re.compile(
    r"[ \t]*(?:(?:[-*+]|\d{1,3}[.)])[ \t]+)?(?P<mark>`{3,}|~{3,})[ \t]*(?P<tag>[\w+.-]+)[ \t]+"
    r"(?P<code>.*[^\s`~].*?)(?P=mark)[ \t]*[.:;,]?[ \t]*"
)
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
_MOST_GUESSES = 20


def _is_code(tag: str) -> bool:
    return tag.lower() in _TAGS or _OTHER_TAG.fullmatch(tag) is not None


def find_blocks(reply: str, *, cut: bool) -> tuple[list[str], list[str]]:
    """Return (code of each block in order, modes found).

    `cut`: the reply stopped at its output limit; a last block without an end is then not code.
    """
    lines = reply.replace("\r\n", "\n").split("\n")
    found: list[tuple[str, list[str], bool]] = []
    unclosed = False
    unquoted = at = 0
    while at < len(lines):
        line = lines[at].rstrip("\r")
        if (quote := _QUOTE.match(line)) and _opens_in_quotation(line[quote.end() :]):
            unquoted = max(unquoted, _unquote(lines, at))
            continue
        at += 1
        if (whole := _ONE_LINE.fullmatch(line)) and _is_code(whole["tag"]):
            code, modes = _typed(whole["code"].strip())
            if _parses(code):
                modes += _of_fence(whole["mark"], whole["tag"], quoted=at <= unquoted)
                found.append((code, [*modes, "code_on_fence_line"], True))
                continue
        match = _OPEN.fullmatch(line) or _OPEN_BEHIND_WORDS.fullmatch(line)
        if match is None:
            continue
        behind_words = match.re is _OPEN_BEHIND_WORDS
        lead = "" if behind_words else match["lead"]
        code, after, modes = _body(lines, at, match["mark"], len(lead.expandtabs()))
        tag = match["tag"]
        is_code = _is_code(tag)
        code, typed = _typed(code)
        modes += typed
        if is_code and not behind_words and (head := match["rest"].strip()):
            both = _with_head(head, code)
            if both is not None:
                code, modes = both, ["code_on_fence_line"]
        if behind_words:
            if not (is_code and _parses(code)):
                continue  # prose that mentions fences
            modes.append("words_beside_fence")
        quoted = at <= unquoted
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
    return [code for code, _ in taken], sorted(shown)


def _of_fence(mark: str, tag: str, *, quoted: bool) -> list[str]:
    """Modes of the fence itself."""
    shown = {
        "other_tag": bool(tag) and tag not in _TAGS,
        "tilde_fence": mark[0] == "~",
        "long_fence": len(mark) > 3,
        "quoted_block": quoted,
    }
    return [mode for mode, is_so in shown.items() if is_so]


def _opens_in_quotation(line: str) -> bool:
    """True where a quoted line, without its `>`, opens a block, possibly in a nested quotation."""
    while quote := _QUOTE.match(line):
        line = line[quote.end() :]
    return (_OPEN.fullmatch(line) or _ONE_LINE.fullmatch(line)) is not None


def _unquote(lines: list[str], start: int) -> int:
    """Remove one `>` from the quotation's lines, in place; return the next line's index."""
    at = start
    while at < len(lines) and (quote := _QUOTE.match(lines[at])):
        lines[at] = lines[at][quote.end() :]
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


def _body(lines: list[str], start: int, mark: str, indent: int) -> tuple[str, int, list[str]]:
    """(code, index of the line after the block, modes) of a block that opens before `start`."""
    closing = re.compile(rf"[ \t]*{mark[0]}{{{len(mark)},}}[ \t]*")
    behind_code = re.compile(rf"(.*[^\s{mark[0]}].*?){mark[0]}{{{len(mark)},}}[ \t]*")
    modes: list[str] = []
    first: tuple[list[str], int, list[str]] | None = None
    end: tuple[list[str], int, list[str]] | None = None
    guesses: list[tuple[list[str], int, list[str]]] = []
    for at in range(start, len(lines)):
        line = lines[at]
        same = mark in line
        opens = _OPEN.fullmatch(line) if same else None
        last_line = None
        candidate: tuple[list[str], int, list[str]]
        if closing.fullmatch(line):
            candidate = (lines[start:at], at + 1, [])
        elif opens is not None and _is_code(opens["tag"]):
            candidate = (lines[start:at], at, ["unclosed_block"])  # the next block begins here
        elif same and (last_line := behind_code.fullmatch(line)) and "#" not in last_line[1]:
            body = [*lines[start:at], last_line[1].rstrip()]
            candidate = (body, at + 1, ["fence_on_code_line"])
        else:
            if same and len(guesses) < _MOST_GUESSES:
                guesses += _guessed(lines, start, at, mark)
            continue
        if _in_string(_dedented(candidate[0], indent)[0]):
            first = first or candidate
            modes = ["fence_in_string"]
            continue
        end = candidate
        break
    if end is None:  # an unclosed string contains no fence: the first fence ends the block
        modes = []
        end = first or (lines[start:], len(lines), ["unclosed_block"])
    if guesses and not _parses(_dedented(end[0], indent)[0]):
        # A fence with trailing words, outside any string, makes invalid code: it ended the block.
        end = next((one for one in guesses if _parses(_dedented(one[0], indent)[0])), end)
    code, was_indented = _dedented(end[0], indent)
    if was_indented:
        modes = [*modes, "indented_block"]
    return code, end[1], [*modes, *end[2]]


def _guessed(
    lines: list[str], start: int, at: int, mark: str
) -> list[tuple[list[str], int, list[str]]]:
    """The block if the marks in line `at`, which has other words, closed it; at most one."""
    before, _, behind = lines[at].partition(mark)
    if before.lstrip().startswith("#") or ("#" in before and behind.strip()):
        return []  # marks in a comment
    if before.strip():
        return [([*lines[start:at], before.rstrip()], at + 1, ["fence_on_code_line"])]
    # "```json" opens another block; "``` so" continues the prose.
    opens = behind[:1].isalnum()
    mode = "unclosed_block" if opens else "words_beside_fence"
    return [(lines[start:at], at if opens else at + 1, [mode])]


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
    if '"""' not in code and "'''" not in code:
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
