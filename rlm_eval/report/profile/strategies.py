"""The strategy of a trajectory (`codebook.STRATEGIES`) from the code of its root's blocks alone."""

from __future__ import annotations

from collections.abc import Sequence

from rlm_eval.core.types import Role, Trajectory
from rlm_eval.report.profile.codebook import UNKNOWN
from rlm_eval.report.profile.flow import Flow


def strategy(blocks: Sequence[str]) -> str:
    """The label of these blocks, in order; `unknown` where there is none.

    A heuristic with a known confusion (docs/profile.md).
    """
    if not any(block.strip() for block in blocks):
        return UNKNOWN
    flow = Flow()
    last_count = last_search = -1
    for number, block in enumerate(blocks):
        before = len(flow.events)
        flow.block(block)
        new = flow.events[before:]
        if "count" in new or "answer_count" in new:
            last_count = number
        if "search" in new:
            last_search = number
    events = flow.events
    if "divide" in events:
        return "divide"
    for event in events:
        if event in ("map", "filter-then-read"):
            return event
    if "answer_count" in events or (last_count >= 0 and last_count >= last_search):
        return "compute"
    return "search" if "search" in events else "none"


def of_trajectory(trajectory: Trajectory) -> str:
    """The strategy of a stored trajectory. Children do not decide: they are the root's `divide`.

    `unknown` where no code of the root is stored.
    """
    roots = {call.id for call in trajectory.calls if call.role is Role.ROOT}
    # A tool that runs no code is a step without a block.
    blocks = [s.code for s in trajectory.steps if s.call in roots and s.code.strip()]
    if any(call.role is Role.CHILD_ROOT for call in trajectory.calls) and blocks:
        return "divide"
    return strategy(blocks)
