"""HOW a question is answered. A `Method` knows a session and a sample's context, never a task.

Its contract stands in `rlm_eval.protocols`.
"""

from __future__ import annotations

from rlm_eval.protocols import Method as Method


def history_of(method: Method) -> tuple[str, ...]:
    """Roles of the turns that a request to the root may have, in order; the longest kind."""
    return tuple(getattr(method, "history", ("user",)))
