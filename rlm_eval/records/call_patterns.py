"""Call metrics of a trajectory: fan-out, batches, sizes, waste, turns after the answer.

Pure functions over a stored `Trajectory`, so that old runs gain new metrics. Coverage, re-reading,
evidence and the critical path are in `coverage`; traits of the code itself are in `strategy`.
"""

from __future__ import annotations

import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

from rlm_eval.core.types import Call, Prompt, Role, Slice, Trajectory
from rlm_eval.records.strategy import trajectory_label, turn_labels, turn_traits

Scalar = str | int | float | bool | None

METRICS = {
    "strategy": "label of the trajectory (strategy.TRAJECTORY_LABELS)",
    "turn_strategies": "labels of the root's turns, joined by `>`",
    "max_turn_fanout": "most direct sub-calls of one root turn (a child counts once)",
    "n_batches": "groups of two or more sub-calls of one block that were under way together",
    "max_batch": "sub-calls of the largest group",
    "median_sub_call_chars": "characters of a plain sub-call's prompt, median",
    "max_sub_call_chars": "characters of a plain sub-call's prompt, largest",
    "unmatched_share": "share of the sub-calls' prompt characters not found in the context",
    "error_turns": "root turns in which some block raised or hit a block limit",
    "syntax_error_blocks": "blocks that were no Python",
    "verification_turns": "root turns in which a sub-call was asked to verify something",
    "turns_after_known": "root turns between the first sight of the answer and the last turn",
    "wasted_calls": "sub-calls that failed, came back empty, or repeated an earlier request",
}
"""Metric -> definition. A metric that needs sub-calls is `None` without sub-calls."""

_NO_PYTHON = ("SyntaxError", "IndentationError", "TabError")


def habits(trajectory: Trajectory) -> dict[str, Scalar]:
    """Compute every metric of `METRICS`."""
    plain = [call for call in trajectory.calls if call.role is Role.SUB]
    sizes = [prompt_chars(call.prompt) for call in plain]
    groups = [size for size in batches(trajectory.calls) if size > 1]
    verifying = [t for t, found in turn_traits(trajectory).items() if "verification" in found]
    return {
        "strategy": trajectory_label(trajectory),
        "turn_strategies": ">".join(turn_labels(trajectory).values()),
        "max_turn_fanout": max(fanout(trajectory).values(), default=None),
        "n_batches": len(groups),
        "max_batch": max(groups, default=None),
        "median_sub_call_chars": statistics.median(sizes) if sizes else None,
        "max_sub_call_chars": max(sizes, default=None),
        "unmatched_share": unmatched_share(plain),
        "error_turns": error_turns(trajectory),
        "syntax_error_blocks": sum(step.error in _NO_PYTHON for step in trajectory.steps),
        "verification_turns": len(verifying),
        "turns_after_known": turns_after_known(trajectory),
        "wasted_calls": wasted_calls(trajectory.calls),
    }


def prompt_chars(prompt: Prompt) -> int:
    """Count the characters sent."""
    return sum(
        part.end - part.start if isinstance(part, Slice) else len(part)
        for _, parts in prompt.messages
        for part in parts
    )


def unmatched_share(calls: Iterable[Call]) -> float | None:
    """Return the share of the calls' prompt characters that are not a slice of a stored text.

    Includes instructions and context text that the code changed: a high share means that coverage
    understates the text that the models read. `None` without calls.
    """
    total = literal = 0
    for call in calls:
        total += prompt_chars(call.prompt)
        literal += sum(
            len(part)
            for _, parts in call.prompt.messages
            for part in parts
            if isinstance(part, str)
        )
    return literal / total if total else None


def fanout(trajectory: Trajectory) -> dict[int, int]:
    """Return root turn -> direct sub-calls of its blocks; a child counts once (its first call)."""
    turn_of = {call.id: call.turn for call in trajectory.calls if call.role is Role.ROOT}
    counts: Counter[int] = Counter()
    for call in trajectory.calls:
        first = call.role is Role.SUB or (call.role is Role.CHILD_ROOT and call.turn == 0)
        if first and call.parent in turn_of:
            counts[turn_of[call.parent]] += 1
    return dict(counts)


def batches(calls: Sequence[Call]) -> list[int]:
    """Return the sizes of groups of concurrent plain sub-calls, block by block.

    A call joins the preceding group if it was submitted before any call of the group had ended.
    """
    by_block: dict[str, list[Call]] = defaultdict(list)
    for call in calls:
        if call.role is Role.SUB:
            by_block[call.position].append(call)
    sizes: list[int] = []
    for block in by_block.values():
        first_end = float("-inf")
        for call in sorted(block, key=lambda c: (c.times.submit, c.id)):
            if call.times.submit < first_end:
                sizes[-1] += 1
                first_end = min(first_end, call.times.end)
            else:
                sizes.append(1)
                first_end = call.times.end
    return sizes


def error_turns(trajectory: Trajectory) -> int:
    """Count the root turns with a failed block."""
    turn_of = {call.id: call.turn for call in trajectory.calls if call.role is Role.ROOT}
    return len({turn_of[s.call] for s in trajectory.steps if s.error and s.call in turn_of})


def turns_after_known(trajectory: Trajectory) -> int | None:
    """Count the root turns after the answer was visible, excluding the turn that submits it.

    Visible: the final answer's text (two characters or more) was in a block's output or in a
    sub-call's reply of that turn. `None` if that never happened before the last turn.
    """
    text = (trajectory.answer.text or "").strip()
    turn_of = {call.id: call.turn for call in trajectory.calls if call.role is Role.ROOT}
    if len(text) < 2 or not turn_of:
        return None
    last = max(turn_of.values())
    sightings = [
        turn_of[s.call] for s in trajectory.steps if s.call in turn_of and text in s.stdout
    ]
    sightings += [
        turn_of[c.parent] for c in trajectory.calls if c.parent in turn_of and text in c.reply
    ]
    known = min((turn for turn in sightings if turn < last), default=None)
    return None if known is None else last - known - 1


def wasted_calls(calls: Sequence[Call]) -> int:
    """Count plain sub-calls without new information: failed, empty, or an identical prompt before.

    Use of a reply is not judged: code may count without printing.
    """
    asked: set[tuple[str, Prompt]] = set()
    wasted = 0
    for call in sorted(calls, key=lambda c: c.id):
        if call.role is not Role.SUB:
            continue
        request = (call.model, call.prompt)
        wasted += bool(call.error) or not call.reply.strip() or request in asked
        asked.add(request)
    return wasted
