"""Shared by the text-driven baselines: prompts in parts, and lines that begin with a directive.

The RLM's protocols are in `methods/rlm`; these agents end with a line `ANSWER: ...`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from rlm_eval.core.types import Answer, Message, Outcome, Role
from rlm_eval.methods.prompts import PromptText, load_prompt
from rlm_eval.methods.text import sections
from rlm_eval.protocols import Session


def load_parts(
    prompt: str, file: str | None, needed: Sequence[str], whole: str = ""
) -> tuple[PromptText, dict[str, str]]:
    """Load a prompt (for its identity) and its parts by name.

    Parts of the user's `file` replace those of the shipped `prompt`; a file without parts becomes
    the part `whole` (a paper's system prompt, verbatim). Raises `ConfigError` where a file is
    missing and `ValueError` where a part of `needed` is missing.
    """
    shipped = load_prompt(prompt)
    parts, name = dict(sections(shipped.text)), shipped.name
    if file is not None:
        own = load_prompt(prompt, file)
        name = own.name
        parts |= sections(own.text) or ({whole: own.text} if whole else {})
    for part in needed:
        if part not in parts:
            raise ValueError(f"prompt {name}: no part '=== {part}'; needed: {', '.join(needed)}")
    text = "\n".join(f"=== {part}\n{parts[part]}" for part in needed)
    return PromptText(name, text), parts


def directive(reply: str, words: Sequence[str]) -> tuple[str, str] | None:
    """Find the first line that begins with one of `words` and a colon: (word, text after it).

    `ANSWER:` takes the rest of the reply, the others the rest of their line. Case and Markdown
    emphasis around the word or the line are ignored.
    """
    pattern = rf"^[ \t>*_#-]*?([*_]*)({'|'.join(words)})([*_]*:[*_]*)(.*)"
    match = re.search(pattern, reply, re.IGNORECASE | re.MULTILINE)
    if match is None:
        return None
    before, word, colon, line = match.groups()
    word, after = word.upper(), colon.strip(":")
    text = reply[match.start(4) :] if word == "ANSWER" else line
    still_open = before if not after else after if not before else ""
    return word, _closed(text.strip(), still_open)


def _closed(text: str, emphasis: str) -> str:
    """Remove the closing mark of an earlier emphasis, at the first line's end or the text's."""
    first, newline, rest = text.partition("\n")
    if emphasis and first.rstrip().endswith(emphasis):
        return (first.rstrip().removesuffix(emphasis).rstrip() + newline + rest).strip()
    return text.removesuffix(emphasis).rstrip()


_ASKS_FOR_KEY = re.compile(r"[\"'`‘“]Answer:", re.IGNORECASE)
_HAS_KEY = re.compile(r"[*_]*answer[*_]*:", re.IGNORECASE)


def as_asked(text: str, question: str) -> str:
    """The text after `ANSWER:`, with the key restored where the question asks for `'Answer: ...'`.

    The agent's directive then equals the task's key, which a scorer may require.
    """
    if not text or not _ASKS_FOR_KEY.search(question) or _HAS_KEY.match(text):
        return text
    return f"Answer: {text}"


async def last_answer(
    session: Session, messages: list[Message], question: str, request: str, turn: int
) -> Answer:
    """After the last turn: make one more call that requests the answer, and accept any form."""
    asked = [*messages, Message("user", request)]
    call = await session.call(asked, role=Role.ROOT, position=f"t{turn}", turn=turn)
    said = directive(call.reply, ("ANSWER",))
    text = as_asked(said[1], question) if said else call.reply
    return Answer(text, call=call.id, provenance="fallback", outcome=Outcome.LIMIT_TURNS)
