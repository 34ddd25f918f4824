"""A request as it is sent, and the hash that finds its reply in a journal on replay."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace

import orjson

from rlm_eval.core.types import Message
from rlm_eval.models import Sampling


def sendable(message: Message) -> Message:
    """Return the message with unpaired surrogates, which UTF-8 cannot encode, replaced by `?`."""
    if message.content.isascii():
        return message
    try:
        message.content.encode()
    except UnicodeEncodeError:
        return Message(message.role, message.content.encode("utf-8", "replace").decode())
    return message


def seeded(sampling: Sampling, sample: str, epoch: int, position: str) -> Sampling:
    """Return the sampling of one call; a seed of the run becomes a seed of the call's position."""
    if sampling.seed is None:
        return sampling
    mix = f"{sampling.seed}|{sample}|{epoch}|{position}".encode()
    seed = int.from_bytes(hashlib.blake2b(mix, digest_size=4).digest()) >> 1
    return replace(sampling, seed=seed)


def request_hash(model: str, messages: Sequence[Message], sampling: Sampling) -> str:
    """Return 20 hex digits, equal for equal requests to the model of this configured name."""
    digest = hashlib.blake2b(digest_size=10)
    digest.update(orjson.dumps([model, sampling], option=orjson.OPT_SORT_KEYS))
    for message in messages:
        digest.update(f"|{message.role}|{len(message.content)}|".encode())
        digest.update(message.content.encode("utf-8", "surrogatepass"))
    return digest.hexdigest()
