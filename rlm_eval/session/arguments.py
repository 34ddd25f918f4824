"""Check what a method gives to its session, and the answer that it returns."""

from __future__ import annotations

import json
from collections.abc import Sequence

from rlm_eval.core.errors import ConfigError
from rlm_eval.core.types import Answer, Call, Message, Outcome, Role
from rlm_eval.models import Sampling


class WrongCall(ConfigError):
    """A method called the session with arguments of the wrong kind."""


def check_messages(messages: object, where: str = "call") -> None:
    """Raise `WrongCall` for messages of the wrong kind: nothing is sent."""
    if not isinstance(messages, Sequence) or isinstance(messages, str):
        raise WrongCall(f"session.{where}: messages={messages!r:.80}: give a list of `Message`")
    for message in messages:
        if not isinstance(message, Message):
            raise WrongCall(f"session.{where}: messages: {message!r:.80} is not a `Message`")
        if not isinstance(message.role, str) or not isinstance(message.content, str):
            raise WrongCall(f"session.{where}: {message!r:.80}: give texts as role and content")


def check_call(
    messages: object,
    role: object,
    position: object,
    model: object,
    depth: object,
    turn: object,
    parent: object,
    sampling: object,
) -> None:
    """Raise `WrongCall` for arguments of `Session.call` of the wrong kind: nothing is sent."""
    check_messages(messages)
    roles = ", ".join(f"Role.{one.name}" for one in Role)
    for name, given, is_right, wanted in (
        ("role", role, isinstance(role, Role), f"one of {roles}"),
        ("position", position, isinstance(position, str), "a text"),
        ("model", model, isinstance(model, str), "the name of a slot"),
        ("depth", depth, _is_count(depth), "a whole number, 0 or more"),
        ("turn", turn, _is_count(turn), "a whole number, 0 or more"),
        ("parent", parent, parent is None or _is_count(parent), "a call's id (`call.id`), or None"),
        ("sampling", sampling, isinstance(sampling, Sampling | None), "a `Sampling`, or None"),
    ):
        if not is_right:
            raise WrongCall(f"session.call: {name}={given!r:.80}: give {wanted}")


def _is_count(value: object) -> bool:
    return isinstance(value, int) and value >= 0


def check_note(key: object, value: object) -> None:
    """Raise `WrongCall` for a note that cannot be stored."""
    if not isinstance(key, str) or not _is_json(value):
        raise WrongCall(
            f"session.note({key!r:.40}, {value!r:.80}): give a text as the key, and a text, a "
            "number, a bool or None as the value"
        )


def check_offer(answer: object, calls: Sequence[Call]) -> None:
    """Raise `WrongCall` for an offered answer that is none."""
    if (wanted := wanted_of(answer, calls)) is not None:
        raise WrongCall(f"session.offer: {answer!r:.80}: give {wanted}")


def wanted_of(answer: object, calls: Sequence[Call]) -> str | None:
    """Return what a method's answer must be instead; `None` where it is right.

    `calls` are those of the sample.
    """
    if not isinstance(answer, Answer):
        return "an `Answer`"
    if not isinstance(answer.text, str | None):
        return "an `Answer` whose text is a str or None; another object goes into its `value`"
    if answer.call is not None and answer.call not in [call.id for call in calls]:
        return "an `Answer` whose call is the id of a call of this sample (`call.id`), or None"
    if not isinstance(answer.outcome, Outcome | None) or not isinstance(answer.provenance, str):
        return "an `Answer` whose outcome is an `Outcome` or None, and whose provenance is a str"
    return None if _is_json(answer.value) else "an `Answer` whose value is plain: JSON can hold it"


def _is_json(value: object) -> bool:
    try:
        json.dumps(value)
    except (TypeError, ValueError, RecursionError):
        return False
    return True
