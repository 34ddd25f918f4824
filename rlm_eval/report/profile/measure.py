"""One row per stored trajectory: how it recursed. Unknown stays null, never 0.

A log that knows totals and no calls has no fan-out or coverage here, and recursion only where it
states the sub-calls; one without code has no strategy.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlm_eval.budget.prices import call_cost
from rlm_eval.core.renamed import current
from rlm_eval.core.types import Call, Role, Sample, Slice, Totals
from rlm_eval.records import coverage
from rlm_eval.records.call_patterns import fanout, prompt_chars
from rlm_eval.records.imported import CHILDREN, recursed
from rlm_eval.records.union import distinct
from rlm_eval.report.profile.codebook import UNKNOWN
from rlm_eval.report.profile.strategies import of_trajectory
from rlm_eval.report.viewer.trajectories import attempts
from rlm_eval.storage.cell_store import RolloutResult

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = {
    "task": "task",
    "length": "nominal context length, tokens",
    "method": "method",
    "variant": "what sets a counterfactual apart; empty for a run of its own",
    "root": "root model",
    "sub": "sub-model",
    "sample": "sample id",
    "epoch": "repeat",
    "cluster": "samples with the same value share a context",
    "scripted": "a script answered, no model",
    "generated": "the data come from a built-in generator",
    "strategy": "codebook.STRATEGIES, or unknown",
    "recursed": "some sub-call or child call was made",
    "fanout": "most direct sub-calls of one root turn; null without any",
    "depth": "deepest call",
    "sub_calls": "sub-calls and calls of children",
    "sub_chars": "characters of a sub-call's prompt, median; null without any",
    "sub_context_chars": "of these, characters of the context as it stands, median",
    "sub_succeeded": "share of the sub-calls with a whole, non-empty reply",
    "coverage": "share of the context that some model call was shown",
    "reread": "times each shown character was sent",
    "cost_root": "cost share of depth 0, 0 to 1",
    "cost_deeper": "cost share of every other depth",
    "cost_by": "what the shares are of: usd or tokens",
}
"""Column -> meaning."""


def measured(runs: Sequence[Path]) -> pd.DataFrame:
    """A row per finished trajectory of these runs, with the columns of `COLUMNS`."""
    import pandas as pd

    return pd.DataFrame(list(_rows(runs)), columns=list(COLUMNS))


def _rows(runs: Sequence[Path]) -> Iterator[dict[str, Any]]:
    seen = set()  # a copied cell holds the same trajectories: they are no repeats
    for run in distinct(runs):
        for manifest, sample, attempt in attempts(run):
            done = attempt.trajectory
            sizes = done.answer.text, done.wall_seconds, len(done.calls)
            who = (manifest["identity"], sample.id, done.epoch, *sizes)
            if not done.outcome.is_missing and who not in seen:
                seen.add(who)
                yield row_of(manifest, sample, attempt)


def row_of(manifest: Mapping[str, Any], sample: Sample, attempt: RolloutResult) -> dict[str, Any]:
    """How one trajectory recursed."""
    facts, trajectory = manifest["facts"], attempt.trajectory
    calls = [call for call in trajectory.calls if call.role is not Role.JUDGE]
    subs = [call for call in calls if call.role in CHILDREN]
    row: dict[str, Any] = {
        "task": facts["task"],
        "length": sample.length,
        "method": current(facts["method"]),
        "variant": facts.get("variant") or "",
        "root": facts.get("root") or "",
        "sub": facts.get("sub") or "",
        "sample": sample.id,
        "epoch": trajectory.epoch,
        "cluster": sample.cluster,
        "scripted": bool(facts.get("scripted")),
        "generated": bool(facts.get("generated")),
        "strategy": of_trajectory(trajectory),
    }
    if not calls:  # a log of totals, or nothing was asked: no more is known than they state
        return dict.fromkeys(COLUMNS) | row | _stated(trajectory.totals)
    share = reread = None
    if not any(call.is_server_cut for call in calls):
        spans = coverage.slices_of(calls, sample.context.hash)
        share, reread = coverage.coverage(spans, sample.context.chars)
    plain = [call for call in subs if call.role is Role.SUB]
    if any("depth" in call.unknown for call in calls):  # turns and sub-calls are not told apart
        known = {"recursed": recursed(calls), "coverage": share, "reread": reread}
        return dict.fromkeys(COLUMNS) | row | known | {"strategy": UNKNOWN}
    shares, by = _cost_shares(calls, manifest)
    return row | {
        "recursed": bool(subs),
        "fanout": max(fanout(trajectory).values(), default=None),
        "depth": max(call.depth for call in calls),
        "sub_calls": len(subs),
        "sub_chars": statistics.median(map(_chars, plain)) if plain else None,
        "sub_context_chars": statistics.median(map(_context_chars, plain)) if plain else None,
        "sub_succeeded": statistics.mean(map(_succeeded, subs)) if subs else None,
        "coverage": share,
        "reread": reread,
        "cost_root": shares[0],
        "cost_deeper": shares[1],
        "cost_by": by,
    }


def _stated(totals: Totals | None) -> dict[str, Any]:
    """What totals tell of recursion; empty where they state no sub-calls."""
    if totals is None or totals.sub_calls is None:
        return {}
    count = totals.sub_calls
    return {"recursed": count > 0, "sub_calls": count, "depth": totals.max_depth}


def _chars(call: Call) -> int:
    return prompt_chars(call.prompt)


def _context_chars(call: Call) -> int:
    parts = (part for _, parts in call.prompt.messages for part in parts)
    return sum(part.end - part.start for part in parts if isinstance(part, Slice))


def _succeeded(call: Call) -> bool:
    return call.error is None and bool(call.reply.strip()) and not call.is_cut


def _cost_shares(
    calls: Sequence[Call], manifest: Mapping[str, Any]
) -> tuple[tuple[float | None, float | None], str | None]:
    """((share of depth 0, share of all other depths), what they are of); dollars where known."""
    bill = call_cost(manifest.get("prices", {}))
    for by in ("usd", "tokens"):
        amounts = [
            (call.depth, bill(call)[0] if by == "usd" else call.usage.total)
            for call in calls
            if call.error is None
        ]
        if any(amount is None for _, amount in amounts):
            continue
        total = sum(amount or 0.0 for _, amount in amounts)
        if total:
            root = sum(amount or 0.0 for depth, amount in amounts if depth == 0) / total
            return (root, 1 - root), by
    return (None, None), None


def stability(frame: pd.DataFrame) -> tuple[float | None, int]:
    """(share of pairs of repeats of one sample with the same strategy, pairs); unknown left out."""
    same = pairs = 0
    known = frame[frame["strategy"] != UNKNOWN]
    for _, own in known.groupby("sample"):
        counts = own["strategy"].value_counts()
        n = int(counts.sum())
        pairs += n * (n - 1) // 2
        same += int((counts * (counts - 1) // 2).sum())
    return (same / pairs if pairs else None), pairs
