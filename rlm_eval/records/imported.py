"""The record of an imported sample: columns missing from its log become null.

`records.record_of` counts stored calls; for a foreign log a missing value is unknown, not 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rlm_eval.core.types import Call, Prompt, Role, Times, Totals, Trajectory, Usage
from rlm_eval.records.columns import CallCost

CHILDREN = (Role.SUB, Role.CHILD_ROOT)
_NEVER = (
    "n_retried_calls", "n_lost_attempts", "n_replayed_calls", "n_server_cut_calls",
    "lost_tokens_estimated", "lost_cost_estimated", "failed_cost", "queue_seconds", "n_replies",
    "n_textless_replies",
)  # fmt: skip
"""Columns that no foreign log reports, or whose counts mean something else there."""
_OF_CALLS = (
    "n_calls", "n_root_calls", "n_sub_calls", "n_child_calls", "n_other_calls", "n_judge_calls",
    "used_recursion", "max_depth", "turns", "first_sub_turn", "max_fanout", "n_truncated_calls",
    "n_runaway_calls", "n_unknown_ends", "unknown_ends", "served_models", "n_failed_calls",
    "input_tokens", "cached_tokens", "output_tokens", "reasoning_tokens", "root_input_tokens",
    "root_output_tokens", "sub_input_tokens", "sub_output_tokens", "judge_input_tokens",
    "judge_output_tokens", "peak_prompt_tokens", "cost_cold", "cost_observed", "cost_with_gpu",
    "judge_cost", "critical_path_seconds", "service_seconds", "first_token_seconds",
    "token_seconds", "n_steps", "n_error_steps", "step_cpu_seconds", "coverage", "reread",
    "evidence_seen",
)  # fmt: skip
"""Columns that count calls or blocks: null if the log has only totals."""
_OF_TIMES = ("critical_path_seconds", "service_seconds", "first_token_seconds", "token_seconds")
_OF_PROMPTS = ("coverage", "reread", "evidence_seen")
_OF_DEPTHS = (
    "n_root_calls", "n_sub_calls", "n_child_calls", "n_other_calls", "max_depth", "turns",
    "first_sub_turn", "max_fanout", "root_input_tokens", "root_output_tokens", "sub_input_tokens",
    "sub_output_tokens",
)  # fmt: skip
_HABITS_OF_DEPTHS = (
    "strategy", "turn_strategies", "max_turn_fanout", "n_batches", "max_batch",
    "median_sub_call_chars", "max_sub_call_chars", "unmatched_share", "error_turns",
    "verification_turns", "turns_after_known", "wasted_calls",
)  # fmt: skip
"""Habits that tell turns of the root from sub-calls."""
_OF_ENDS = ("n_truncated_calls", "n_runaway_calls", "n_unknown_ends", "unknown_ends")


def unstated(trajectory: Trajectory, cost: CallCost) -> dict[str, Any]:
    """Return the columns of a record to replace: null, or the log's totals."""
    found: dict[str, Any] = dict.fromkeys(_NEVER)
    if trajectory.totals is not None:
        return found | dict.fromkeys(_OF_CALLS) | _stated(trajectory.totals, cost)
    lacking = {name for call in trajectory.calls for name in call.unknown}
    if "times" in lacking:
        found |= dict.fromkeys(_OF_TIMES)
    if "prompt" in lacking:
        found |= dict.fromkeys(_OF_PROMPTS)
    if "depth" in lacking:
        found |= dict.fromkeys(_OF_DEPTHS) | {"used_recursion": recursed(trajectory.calls)}
        if trajectory.steps or any(call.role in CHILDREN for call in trajectory.calls):
            found |= dict.fromkeys(f"habit_{name}" for name in _HABITS_OF_DEPTHS)
            depths = {call.depth for call in trajectory.calls if call.role is not Role.JUDGE}
            kinds = ("calls", "input_tokens", "output_tokens")
            found |= {f"depth{depth}_{kind}": None for depth in depths for kind in kinds}
    if "finish_reason" in lacking:
        found |= dict.fromkeys(_OF_ENDS)
    if any(call.usage.total is None for call in trajectory.calls if call.error is None):
        # A sum over the reporting calls only would look like the total.
        found |= dict.fromkeys(("cost_cold", "cost_observed", "cost_with_gpu"))
        found["peak_prompt_tokens"] = None
    if not any(call.role is Role.JUDGE for call in trajectory.calls):
        judges = ("n_judge_calls", "judge_cost", "judge_input_tokens", "judge_output_tokens")
        found |= dict.fromkeys(judges)
    return found


def recursed(calls: Sequence[Call]) -> bool | None:
    """Return whether some call is a sub-call or a child's; `None` = the log does not tell."""
    if any(call.role in CHILDREN and "depth" not in call.unknown for call in calls):
        return True
    return None if any("depth" in call.unknown for call in calls) else False


def _stated(totals: Totals, cost: CallCost) -> dict[str, Any]:
    """Return the columns that the totals provide."""
    recursion = None if totals.sub_calls is None else totals.sub_calls > 0
    cold, observed = cost(_one_call(totals)) if totals.price else (None, None)
    return {
        "input_tokens": totals.input,
        "cached_tokens": totals.cached,
        "output_tokens": totals.output,
        "reasoning_tokens": totals.reasoning,
        "n_calls": totals.calls,
        "turns": totals.turns,
        "n_sub_calls": totals.sub_calls,
        "used_recursion": recursion,
        "max_depth": totals.max_depth,
        "n_steps": totals.steps,
        "cost_cold": cold,
        "cost_observed": observed,
    }


def _one_call(totals: Totals) -> Call:
    """Return a temporary call with the totals as usage, for pricing.

    Long-prompt price tiers apply per request; totals of many calls could reach a tier that no
    single call reached. Maps therefore name a `price` only for models without tiers.
    """
    usage = Usage(totals.input, totals.cached, totals.output, totals.reasoning)
    nothing = Times(0.0, 0.0, None, 0.0)
    return Call(
        0, None, 0, Role.ROOT, 0, "", "root", "", Prompt(()), "", "", "stop", usage, nothing, 1
    )
