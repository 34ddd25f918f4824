"""The one rule that separates a model's thoughts from its visible text: `split`.

It runs where a reply enters (`models/http/thoughts.py` for servers, `session` for every other
client and for stored replies), and again in the scorers, for answers from other sources. A second
run changes nothing.

- A thought begins with an opening tag (`_TAGS`, in any case) and ends with its closing tag, nested
  ones included; without a closing tag the reply was cut while thinking: the rest is not visible.
- It may be anywhere: at the start, or between blocks of text and code (interleaved thinking).
- A second closing tag after a thought ends the same thought: the model continued to think.
- A closing tag alone is text, unless the chat template opened the thought (`opened`).
- Of harmony messages (gpt-oss) only the channel `final` is visible text.
- Nothing is cut where the server returned reasoning apart, nor is a tag a thought inside a code
  fence, inline code, `<code>`, or quotes, nor where a sentence mentions it ("put <think> first").

Not covered: thoughts in plain words ("Here is my thought process:"), which no tag marks, and tags
that only a prompt requested (`<scratchpad>`). The tags are those of model cards, chat templates and
the reasoning parsers of vLLM, SGLang and llama.cpp.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_NAMES = r"(?:\w+:)?(?:think|thinking|thoughts?|reasoning|longcat_think|reasoning_scratchpad)"
_TAGS = (
    # XML-like: DeepSeek, Qwen, GLM, EXAONE (<thought>), Claude as text (<thinking>), Seed-OSS and
    # MiniMax (with a prefix), LongCat, Gemma's and Solar's <|think|>. One name may close another.
    (rf"<\|?{_NAMES}(?:\s+\w+=[^<>\n]{{0,80}})?\s*\|?>", rf"<(?:/\|?|\|/){_NAMES}\s*\|?>"),
    # Magistral and its like; not a link of Markdown.
    (r"\[(?:think|thinking|reasoning)\](?!\((?:\w+:|[#/.]))", r"\[/(?:think|thinking|reasoning)\]"),
    # Kimi-VL, Kimi-Dev.
    (r"◁\s*think(?:ing)?\s*▷", r"◁\s*/\s*think(?:ing)?\s*▷"),
    # Gemma 4.
    (r"<\|channel>\s*(?:thought|thinking|analysis)\b", r"<channel\|>"),
    # Command A and R7B; OpenThoughts, Sky-T1; Apertus.
    (r"<\|START_THINKING\|>", r"<\|END_THINKING\|>"),
    (r"<\|begin_of_thought\|>", r"<\|end_of_thought\|>"),
    (r"<\|inner_prefix\|>", r"<\|inner_suffix\|>"),
)
"""(opening, closing) patterns of each family of tags."""
_TAG = re.compile(
    r"(?=[<\[◁])(?:"
    + "|".join(f"(?P<o{i}>{o})|(?P<c{i}>{c})" for i, (o, c) in enumerate(_TAGS))
    + ")",
    re.IGNORECASE,
)
_HINTS = ("think", "thought", "reasoning", "channel", "inner_", "<|message|>", "assistantfinal")
"""Every text that has a thought contains one of these: a quick search settles most texts."""
_OPENING = re.compile("|".join(o for o, _ in _TAGS), re.IGNORECASE)
_AROUND = re.compile(
    r"<\|(?:START|END)_(?:RESPONSE|TEXT)\|>|<\|(?:begin|end)_of_solution\|>", re.IGNORECASE
)
"""What some of these templates put around the answer after a thought."""

_HEADER = re.compile(
    r"(?:(?:<\|start\|>\s*)?assistant\s*)?(?:<\|channel\|>\s*(\w+)|\b(analysis|commentary|final))"
    r"[^<\n]{0,200}(?:<\|constrain\|>[^<\n]{0,200})?<\|message\|>"
)
_END = re.compile(r"<\|(?:end|return|call)\|>|<\|start\|>\s*assistant\s*$")
_BARE = re.compile(r"\s*analysis(?=\S)(.*)assistantfinal(.*)", re.DOTALL)
"""Harmony whose special tokens the server dropped."""

_GUARD = re.compile(
    r"(?P<fence>`{3,}|~{3,})|(?P<tick>`+)|(?P<code><(?:code|pre)\b[^<>\n]{0,80}>)"
    r"|(?P<quote>[“‘«「『]|(?<![\w\"'\\])[\"'])",
    re.IGNORECASE,
)
"""What may begin code or a quotation."""
_QUOTES = {"“": "”", "‘": "’", "«": "»", "「": "」", "『": "』"}
_AND = re.compile(
    r"\W*(?:(?:tags?\s+)?(?:and|or|to|then)(?:\s+(?:the|an?|its|closing))*)?\W*", re.IGNORECASE
)
"""Text between two tags that a sentence mentions: "between <think> and </think>"."""
_MOST = 2000
"""Characters that are searched for the end of inline code or a quotation."""


@dataclass(frozen=True, slots=True)
class _Tag:
    """An opening or closing tag of a text."""

    opens: bool
    family: int
    start: int
    end: int
    text: str


class Final(str):
    """A text that `without_thoughts` returns unchanged: its reasoning is apart already."""

    __slots__ = ()


def split(
    text: str, reasoning: str = "", *, opened: bool = False, cut: bool = False
) -> tuple[str, str]:
    """Return (visible text, thoughts); see the module.

    `reasoning` is the reasoning that the server returned apart. `opened`: the chat template opened
    a thought in the prompt. `cut`: the reply stopped at its output limit.
    """
    if reasoning.strip():
        return text.lstrip(), reasoning.strip()
    if not (opened and cut) and not _hinted(text):
        return text, ""
    thoughts: list[str] = []
    if opened:
        text = _behind_opened(text, cut, thoughts)
    while (said := _once(text, cut, thoughts)) != text:  # the remaining parts may join to a new tag
        text = said
    return text, "\n".join(filter(None, (thought.strip() for thought in thoughts)))


def without_thoughts(text: str) -> str:
    """Return the visible part of `text`, for scorers: the text may have any source."""
    return text if isinstance(text, Final) else split(text)[0]


def ends_foreign_thought(text: str) -> bool:
    """Return true if a closing tag has no opening one: the chat template may have written it."""
    return any(not tag.opens and not _mentioned(text, tag) for tag in _unguarded(text))


def template_opens_thought(template: str) -> bool | None:
    """Return whether a chat template ends the prompt with an opening tag.

    `None` where that depends on the request, or where the template has no generation prompt.
    """
    _, found, end = template.rpartition("add_generation_prompt")
    tag = _OPENING.search(end)
    if not found:
        return None
    if tag is None:
        return False
    if re.search(r"\{%-?\s*(?:if|elif|else)\b", end[: tag.start()]):
        return None
    behind = _TAG.match(re.sub(r"^(?:\s|\\n)+", "", end[tag.end() :]))
    return behind is None or _OPENING.match(behind.group()) is not None


def _hinted(text: str) -> bool:
    lower = text.lower()
    return any(hint in lower for hint in _HINTS)


def _tags(text: str) -> list[_Tag]:
    found = []
    for match in _TAG.finditer(text) if _hinted(text) else ():
        name = str(match.lastgroup)
        found.append(_Tag(name[0] == "o", int(name[1:]), *match.span(), match.group()))
    return found


def _unguarded(text: str, *, unclosed: bool = True) -> Iterator[_Tag]:
    guard = _Guard(text, unclosed=unclosed)
    return (tag for tag in _tags(text) if not guard.covers(tag.start))


def _behind_opened(text: str, cut: bool, thoughts: list[str]) -> str:
    """Return `text` after the thought that the template opened."""
    if _OPENING.match(text.lstrip()):
        return text  # the model opened it again
    # A code fence within the thought need not be closed: it protects nothing.
    ends = [tag for tag in _unguarded(text, unclosed=False) if not tag.opens]
    if ends:
        tags = _tags(text)
        matched = {tags[number].start for number in _partners(tags).values()}
        end = next((tag for tag in ends if tag.start not in matched), ends[0])
        thoughts.append(text[: end.start])
        return text[end.end :].lstrip()
    if cut:
        thoughts.append(text)
        return ""
    return text


def _once(text: str, cut: bool, thoughts: list[str]) -> str:
    """Return `text` without its thoughts, which are added to `thoughts`."""
    if bare := _BARE.fullmatch(text):
        thoughts.append(bare[1])
        return bare[2].lstrip()
    if "<|message|>" in text and (said := _harmony(text, thoughts)) is not None:
        return said
    tags = _tags(text)
    return _tagged(text, tags, cut, thoughts) if any(tag.opens for tag in tags) else text


def _tagged(text: str, tags: list[_Tag], cut: bool, thoughts: list[str]) -> str:
    partners, coming = _partners(tags), _next_closings(tags)
    guard = _Guard(text)
    kept: list[str] = []
    at = 0
    family: int | None = None  # of the thought that ended at `at`
    mentioned: set[int] = set()
    for number, tag in enumerate(tags):
        if tag.start < at or number in mentioned or guard.covers(tag.start):
            continue
        if not tag.opens:
            if tag.family == family and not _mentioned(text, tag):
                thoughts.append(text[at : tag.start])
                at = tag.end
                guard = _Guard(text, at)
            continue
        last = partners.get(number, coming[number])
        end = None if last is None else tags[last]
        if not _begins(text, tag, end, cut):
            mentioned |= set() if last is None else {last}
            continue
        before = text[at : tag.start]
        kept.append(before if end else before.rstrip())
        thoughts.append(text[tag.end : end.start if end else len(text)])
        at, family = end.end if end else len(text), tag.family
        guard = _Guard(text, at)
    if not kept:
        return text
    return _AROUND.sub("", "".join((*kept, text[at:]))).lstrip()


def _begins(text: str, tag: _Tag, end: _Tag | None, cut: bool) -> bool:
    """Return whether an opening tag begins a thought; a sentence may mention it."""
    if end is not None:
        return not (_mentioned(text, tag) and _AND.fullmatch(text[tag.end : end.start]))
    if cut and text[tag.start] != "[":  # the reply broke off within the thought
        return True
    if tag.text.startswith("[") and tag.text != "[THINK]":  # a heading, a stage direction
        return False
    return text[tag.end : tag.end + 1] not in (",", ":", ";", ")") and not _mentioned(text, tag)


def _mentioned(text: str, tag: _Tag) -> bool:
    """Return true if the tag is a word of a sentence: a word and a space before it, on its line,
    and a space, punctuation or the end of the text after it."""
    before = text[max(text.rfind("\n", 0, tag.start) + 1, tag.start - 80) : tag.start]
    if before.endswith("\\"):
        return True
    word = before.rstrip()[-1:]
    apart = before[-1:] in (" ", "\t", "(", ",") and (word.isalnum() or word in ("(", ","))
    return apart and text[tag.end : tag.end + 1] in ("", *" \t,.;:)!?-")


def _partners(tags: list[_Tag]) -> dict[int, int]:
    """Map opening to closing tags, by number: the tags of one family nest like brackets."""
    waiting: dict[int, list[int]] = {}
    found: dict[int, int] = {}
    for number, tag in enumerate(tags):
        stack = waiting.setdefault(tag.family, [])
        if tag.opens:
            stack.append(number)
        elif stack:
            found[stack.pop()] = number
    return found


def _next_closings(tags: list[_Tag]) -> list[int | None]:
    """Return for each tag the next closing one of its family, by number."""
    coming: dict[int, int] = {}
    found: list[int | None] = []
    for number in range(len(tags) - 1, -1, -1):
        found.append(coming.get(tags[number].family))
        if not tags[number].opens:
            coming[tags[number].family] = number
    return found[::-1]


def _harmony(text: str, thoughts: list[str]) -> str | None:
    """Return the visible text of the harmony messages of `text`; `None` where it has none."""
    guard = _Guard(text)
    first = next((h for h in _HEADER.finditer(text) if not guard.covers(h.start())), None)
    if first is None:
        return None
    headers = [first, *_HEADER.finditer(text, first.end())]
    said = [text[: first.start()]]
    for header, following in zip(headers, [*headers[1:], None], strict=True):
        stop = following.start() if following else len(text)
        end = _END.search(text, header.end(), stop)
        body = text[header.end() : end.start() if end else stop]
        (said if (header[1] or header[2]) == "final" else thoughts).append(body)
        said.append(_END.sub("", text[end.end() : stop]) if end else "")
    return "".join(said).lstrip()


class _Guard:
    """Code and quotations of a text, found on demand, from left to right."""

    def __init__(self, text: str, at: int = 0, *, unclosed: bool = True) -> None:
        """From character `at`; `unclosed`: a fence that is not closed reaches to the end."""
        self._text, self._at, self._unclosed = text, at, unclosed
        self._sought: set[str] = set()  # fences that no line of their own closes from this point on

    def covers(self, place: int) -> bool:
        """Return whether the character is in code or a quotation. Places must not decrease."""
        line = self._text.rfind("\n", 0, place) + 1
        if self._text[line : line + 4].lstrip(" \t").startswith(">"):  # a Markdown quotation
            return True
        while self._at <= place:
            begin = _GUARD.search(self._text, self._at, place)
            if begin is None:
                self._at = place
                return False
            end = self._end(begin)
            self._at = begin.end() if end is None else end
        return True

    def _end(self, begin: re.Match[str]) -> int | None:
        text, mark, start = self._text, begin.group(), begin.end()
        near = start + _MOST
        line = text.find("\n", start, near)
        line = near if line < 0 else line
        found: re.Match[str] | None
        if begin.lastgroup == "fence":
            found = self._fence_end(begin)
            if found is None and self._unclosed:
                return len(text)
        elif begin.lastgroup == "tick":
            found = re.compile(rf"(?<!`){mark}(?!`)").search(text, start, line)
        elif begin.lastgroup == "code":
            found = re.compile(r"</(?:code|pre)\s*>", re.IGNORECASE).search(text, start, near)
        else:
            closing = _QUOTES.get(mark, rf"(?<=[^\s\\]){mark}(?!\w)")
            found = re.compile(closing).search(text, start, line)
        return found.end() if found else None

    def _fence_end(self, begin: re.Match[str]) -> re.Match[str] | None:
        text, mark = self._text, begin.group()
        closing = f"{mark[0]}{{{len(mark)},}}"
        before = text[text.rfind("\n", 0, begin.start()) + 1 : begin.start()]
        line = text[begin.end() : (text.find("\n", begin.end()) + 1) or len(text)]
        if not before.strip() and mark[0] not in line and mark not in self._sought:
            alone = re.compile(rf"^[ \t]*{closing}[ \t]*$", re.MULTILINE)
            if found := alone.search(text, begin.end()):
                return found
            self._sought.add(mark)
        return re.compile(closing).search(text, begin.end())
