"""A request as it is sent, and the hash by which its reply is found again in a journal."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace

import orjson

from rlm_eval.core.types import Message
from rlm_eval.models import Sampling


def sendable(message: Message) -> Message:
    """The message; half a surrogate pair, which code can make and UTF-8 cannot, becomes `?`."""
    if message.content.isascii():
        return message
    try:
        message.content.encode()
    except UnicodeEncodeError:
        return Message(message.role, message.content.encode("utf-8", "replace").decode())
    return message


def seeded(sampling: Sampling, sample: str, epoch: int, position: str) -> Sampling:
    """The sampling of one call; a seed of the run becomes one of the asking place."""
    if sampling.seed is None:
        return sampling
    mix = f"{sampling.seed}|{sample}|{epoch}|{position}".encode()
    seed = int.from_bytes(hashlib.blake2b(mix, digest_size=4).digest()) >> 1
    return replace(sampling, seed=seed)


def request_hash(model: str, messages: Sequence[Message], sampling: Sampling) -> str:
    """20 hex digits: equal for equal requests to the model of this configured name."""
    digest = hashlib.blake2b(digest_size=10)
    digest.update(orjson.dumps([model, sampling], option=orjson.OPT_SORT_KEYS))
    for message in messages:
        digest.update(f"|{message.role}|{len(message.content)}|".encode())
        digest.update(message.content.encode("utf-8", "surrogatepass"))
    return digest.hexdigest()
