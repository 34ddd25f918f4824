"""Context use of a trajectory: coverage, re-reading, critical path, kinds of failure.

The answer is judged by scorers, not here. Everything is computed from stored trajectories, so old
runs gain new metrics. Terms follow arXiv:2512.24601 where it defines them.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from typing import Any

from rlm_eval.core.spans import Span, merge, share_within, touches
from rlm_eval.core.types import Call, Outcome, Role, Sample, Score, Slice, Step, Trajectory

FAILURES = {
    "cut_off": "a limit or an output cap ended the answer early",
    "not_parsed": "an answer came out, but no scorer could read it",
    "no_answer": "the method returned nothing",
    "error": "context overflow, a refusal or a lost REPL",
    "evidence_never_seen": "no model call was shown any span that holds the answer",
    "right_then_changed": "a reply held the gold answer, the final answer does not",
    "evidence_seen_in_part": "models saw parts of the spans that hold the answer, none whole",
    "saw_too_little": "several spans hold the answer; models saw less than half of them whole",
    "seen_and_misaggregated": "several spans hold the answer; models saw half or more, the sum is "
    "wrong",
    "seen_and_missed": "a model saw the one span that holds the answer and did not report it",
    "prompt_cut": "a server cut a prompt of the trajectory: what models saw is unknown",
    "wrong": "wrong; the task states no evidence spans, so no more can be said",
}
"""Kind of failure of a wrong answer -> meaning, in the order in which the kinds are tried."""


ENOUGH = 0.5
"""Share of evidence spans read below which a wrong answer is attributed to unread evidence."""

_NO_READERS = (Role.JUDGE, Role.EMBED, Role.RERANK)
"""Roles whose prompts do not count as reading: an index receives the whole context."""


def slices_of(calls: Iterable[Call], source: str) -> list[Span]:
    """Return every slice of the text `source` that a model read in these calls to find the answer.

    Excludes prompts of judges, embedders and re-rankers, and failed calls.
    """
    return [
        (part.start, part.end)
        for call in calls
        if call.role not in _NO_READERS and call.error is None
        for _, parts in call.prompt.messages
        for part in parts
        if isinstance(part, Slice) and part.source == source
    ]


def coverage(spans: Sequence[Span], chars: int) -> tuple[float | None, float | None]:
    """Return (share of the context that some model read, mean times each read character was sent).

    Both are `None` for an empty context; the second is `None` if nothing was read.
    """
    union = sum(end - start for start, end in merge(spans))
    share = union / chars if chars else None
    return share, sum(end - start for start, end in spans) / union if union else None


def evidence_seen(evidence: Sequence[Span], spans: Sequence[Span]) -> float | None:
    """Return the share of evidence spans that models read completely; `None` without evidence.

    The last character may be missing: code that splits sentences drops the full stop.
    """
    return share_within(evidence, spans, spared=1)


def critical_path(calls: Sequence[Call], steps: Sequence[Step]) -> float | None:
    """Return the seconds of the longest chain of calls: the latency of an unloaded client.

    A call depends on another of the same parent if it was submitted after that one ended; its own
    sub-calls and the CPU time of its blocks are added. Queueing is excluded. Replayed calls of a
    resumed sample keep the times of their original session; the sample's clock continues after
    them.
    """
    cpu: dict[int, float] = {}
    for step in steps:
        # A killed block has no CPU time; without sub-calls its wall time is the latency.
        alone = 0.0 if step.calls else step.wall_seconds
        own = alone if step.cpu_seconds is None else step.cpu_seconds
        cpu[step.call] = cpu.get(step.call, 0.0) + own
    children: dict[int | None, list[Call]] = {}
    for call in calls:
        children.setdefault(call.parent, []).append(call)
    # A call's parent has a smaller id, so descending ids process children first.
    below: dict[int | None, float] = {}
    for parent in sorted((p for p in children if p is not None), reverse=True):
        below[parent] = _longest_chain(children[parent], cpu, below)
    return _longest_chain(children.get(None, []), cpu, below)


def _longest_chain(
    calls: list[Call], cpu: dict[int, float], below: dict[int | None, float]
) -> float:
    """Weighted interval scheduling: find the heaviest sequence of non-overlapping calls."""
    ordered = sorted(calls, key=lambda call: call.times.end)
    ends: list[float] = []
    best: list[float] = []
    for call in ordered:
        at = bisect_right(ends, call.times.submit)
        weight = call.times.end - call.times.start + cpu.get(call.id, 0.0) + below.get(call.id, 0.0)
        total = weight + (best[at - 1] if at else 0.0)
        ends.append(call.times.end)
        best.append(max(total, best[-1] if best else 0.0))
    return best[-1] if best else 0.0


def first_token_seconds(call: Call) -> float | None:
    """Return the time to first token (TTFT) in seconds; `None` if the call was not streamed."""
    first = call.times.first_token
    return None if first is None else first - call.times.start


def token_seconds(call: Call) -> float | None:
    """Return seconds per output token after the first (TPOT as in vLLM's benchmark)."""
    first, tokens = call.times.first_token, call.usage.output
    if first is None or tokens is None or tokens < 2:
        return None
    return (call.times.end - first) / (tokens - 1)


def failure(
    sample: Sample, trajectory: Trajectory, scores: Sequence[Score], seen: float | None
) -> str | None:
    """Return a wrong answer's failure kind (a key of `FAILURES`); `None` if right or unscored."""
    value = scores[0].value if scores else None
    if trajectory.outcome.is_missing or (value is None and not trajectory.outcome.scores_zero):
        return None
    if value is not None and value >= 1.0:
        return None
    if trajectory.outcome.is_cut:
        return "cut_off"
    if trajectory.outcome is Outcome.UNKNOWN:
        return None
    if trajectory.outcome.value not in ("ok", "no_answer"):
        return "error"
    nothing = trajectory.answer.text is None and trajectory.answer.value is None
    if nothing or trajectory.outcome is Outcome.NO_ANSWER:
        return "no_answer"
    # For a verdict from an imported log, the parsed answer is unknown.
    if scores and scores[0].parsed is None and scores[0].scorer != "theirs":
        return "not_parsed"
    return _failure_by_evidence(sample, trajectory, seen)


def _failure_by_evidence(sample: Sample, trajectory: Trajectory, seen: float | None) -> str:
    if any(call.is_server_cut for call in trajectory.calls):
        return "prompt_cut"
    if seen is None:
        return "wrong"
    whole = seen > 0.0
    shown = slices_of(trajectory.calls, sample.context.hash)
    if not whole and not touches(sample.evidence, shown):
        return "evidence_never_seen"
    golds = _texts(sample.target)
    if golds and any(
        all(gold in call.reply for gold in golds)
        for call in trajectory.calls
        if call.role not in _NO_READERS and call.id != trajectory.answer.call
    ):
        return "right_then_changed"
    if not whole:
        return "evidence_seen_in_part"
    if len(sample.evidence) == 1:
        return "seen_and_missed"
    return "saw_too_little" if seen < ENOUGH else "seen_and_misaggregated"


def _texts(target: Any) -> list[str]:
    """Return the gold answer as search strings; short ones would match by chance."""
    values = target if isinstance(target, list | tuple) else [target]
    return [text for text in map(str, values) if len(text) >= 3]
