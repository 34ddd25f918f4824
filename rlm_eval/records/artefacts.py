"""Classic artefacts in a stored trajectory: runaway replies, equal replies, equal samples.

A missing or wrong chat template makes replies that echo the prompt or never stop. The answer is not
judged; only the literals of a call's prompt (no slices of contexts) and its reply are read.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from rlm_eval.core.types import Call, Sample, text_hash

_TAIL = 600
"""Characters at a reply's end that are searched for a repetition."""
_ECHO = 60
"""Leading characters that a reply must share with a message to be an echo."""
_TEMPLATE = (
    "<|im_start|>", "<|im_end|>", "<|start_header_id|>", "<|eot_id|>", "<start_of_turn>",
    "[INST]", "[/INST]", "<|user|>", "<|assistant|>", "<|endoftext|>",
)  # fmt: skip


def is_runaway(call: Call) -> bool:
    """Return true for a reply that starts with the prompt's words, contains template markers, or
    repeats itself up to its output cap."""
    reply = call.reply.strip()
    if not reply or call.error is not None:
        return False
    prompt = [part for _, parts in call.prompt.messages for part in parts if isinstance(part, str)]
    asked = [  # repeating an assistant turn is legitimate
        parts[0].strip()
        for role, parts in call.prompt.messages
        if role != "assistant" and parts and isinstance(parts[0], str)
    ]
    if len(reply) >= _ECHO and any(text.startswith(reply[:_ECHO]) for text in asked):
        return True
    if any(mark in reply and not any(mark in text for text in prompt) for mark in _TEMPLATE):
        return True
    return call.is_cut and repeats(reply)


def repeats(text: str) -> bool:
    """Return true if a text ends with the same passage at least three times in a row."""
    tail = text[-_TAIL:]
    return any(tail[period:] == tail[:-period] for period in range(1, len(tail) // 3 + 1))


def fingerprints(sample: Sample, roots: Sequence[Call]) -> dict[str, Any]:
    """Return hashes that identify equal replies and equal samples, without their texts."""
    words = " ".join(re.findall(r"\w+", sample.question.lower()))
    first = next((call for call in roots if call.error is None), None)
    return {
        "question_hash": text_hash(f"{words}\n{sample.target}")[:12],
        "first_reply_hash": None if first is None else text_hash(first.reply)[:12],
        "first_reply_chars": None if first is None else len(first.reply),
    }
