"""Build finished calls: from a reply, from a failure, and from a cancellation."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import replace

from rlm_eval.core.errors import (
    BadRequest,
    CallCancelled,
    ConfigError,
    ModelError,
    ProviderError,
    error_of,
)
from rlm_eval.core.plug_ins import guarded, returned
from rlm_eval.core.reasoning import split
from rlm_eval.core.types import Call, Prompt, Reply, Role, Times, Usage


def guarded_client(client: object) -> AbstractContextManager[None]:
    """Return a context in which a fault of a client's `complete` is a `ConfigError`."""
    return guarded(client, "complete", way_out="raise `ProviderError` for a failed request")


def checked(reply: Reply, client: object) -> Reply:
    """Return what a client's `complete` returned. Raises `ConfigError` if it is not a `Reply`."""
    if not isinstance(reply, Reply):
        raise ConfigError(returned(client, "complete", reply, "a `Reply`"))
    return reply


def finished(
    draft: Call, reply: Reply, end: float, estimate: Usage, *, keeps_raw: bool = False
) -> Call:
    """Return `draft` with the reply that arrived at `end`, seconds since the sample's start."""
    service = reply.service_seconds
    waited = draft.times.submit + reply.queue_seconds
    start = round(waited if service is None else end - service, 4)
    first = reply.first_token_seconds
    text, reasoning = split(reply.text, reply.reasoning)
    raw = reply.raw or ("" if text == reply.text else reply.text)
    return replace(
        draft,
        raw=raw if keeps_raw else "",
        model=reply.model or draft.model,
        reply=text,
        reasoning=reasoning,
        finish_reason=reply.finish_reason,
        usage=reply.usage,
        attempts=reply.attempts,
        failed=reply.failed,
        lost_attempts=reply.lost_attempts,
        estimate=estimate,
        times=Times(
            submit=draft.times.submit,
            start=start,
            first_token=None if first is None else round(start + first, 4),
            end=end,
        ),
    )


def failed(draft: Call, error: ModelError, end: float, estimate: Usage) -> Call:
    """Return `draft` as failed at `end`, seconds since the sample's start."""
    own = error.service_seconds
    start = draft.times.submit if own is None else round(end - own, 4)
    return replace(
        draft,
        usage=error.usage,
        attempts=error.attempts,
        failed=error.failed,
        lost_attempts=error.lost_attempts,
        times=replace(draft.times, start=start, end=end),
        error=f"{error.kind}: {error}",
        estimate=estimate,
    )


def cancelled(draft: Call, cause: CallCancelled, end: float, estimate: Usage) -> Call:
    """Return `draft` as cancelled in flight at `end`, seconds since the sample's start."""
    return replace(
        draft,
        times=replace(draft.times, end=end),
        error="Cancelled: in flight",
        attempts=cause.attempts,
        failed=cause.failed,
        lost_attempts=cause.lost_attempts,
        estimate=estimate,
    )


_FAULTS = frozenset({ProviderError.__name__, BadRequest.__name__})
"""Failures that may be the server's. A wording that no rule knows is a `BadRequest`."""
_ROLES = frozenset({"system", "user", "assistant"})


def unrepaired(calls: Sequence[Call]) -> ModelError | None:
    """Return the first failure of the server that no later, equal request of the sample repaired.

    `calls` are in the order in which they ended. A context overflow and a refusal are results of
    what the method requested. So is a bad request whose turns are wrong whatever the server's
    state; any other may be a fault with an unknown wording. A judge's call does not belong to the
    method.
    """
    for index, call in enumerate(calls):
        kind = (call.error or "").partition(":")[0]
        if kind not in _FAULTS or call.role is Role.JUDGE:
            continue
        if kind == BadRequest.__name__ and _has_odd_turns(call.prompt):
            continue
        again = (c for c in calls[index + 1 :] if c.error is None and c.slot == call.slot)
        if not any(c.prompt == call.prompt for c in again):
            return error_of(call)
    return None


def _has_odd_turns(prompt: Prompt) -> bool:
    """Return true for turns that servers refuse at any time: without a user's, behind the
    assistant's own, or of another role. A model's code and external engines write such."""
    roles = [role for role, _ in prompt.messages]
    return "user" not in roles or roles[-1] == "assistant" or not _ROLES.issuperset(roles)
