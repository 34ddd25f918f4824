"""WHAT is asked. A `Task` gives samples and scores answers; it never calls a model.

Its contract stands in `rlm_eval.protocols`.
"""

from __future__ import annotations

from rlm_eval.protocols import Floor as Floor
from rlm_eval.protocols import JudgedTask as JudgedTask
from rlm_eval.protocols import Task as Task

CLUSTERS = 20
"""Contexts in a cell where no n is given: enough to show a large difference."""


def per_cluster(task: Task) -> int:
    """Samples that share a context; a task says it as `per_cluster`, 1 where it does not."""
    found: int = getattr(task, "per_cluster", 1)
    return found


def most_clusters(task: Task) -> int | None:
    """Contexts that the data have at a length (`most_clusters`); `None` = as many as wanted."""
    found: int | None = getattr(task, "most_clusters", None)
    return found


def has_own_length(task: Task) -> bool:
    """True where the user's texts have the length that they have (`own_length`), whatever
    `length=` says.
    """
    return bool(getattr(task, "own_length", False))


def single_question(task: Task) -> str | None:
    """The setting which, at 1, gives every sample a context of its own; `None` = there is none."""
    found: str | None = getattr(task, "CLUSTER_FIELD", None)
    return found and f"task.{found}"


def default_n(task: Task) -> int:
    """Samples of a cell where no n is given: `CLUSTERS` contexts, or all that the data have."""
    most = most_clusters(task)
    return per_cluster(task) * (CLUSTERS if most is None else min(CLUSTERS, most))
