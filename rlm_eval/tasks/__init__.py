"""WHAT is asked. A `Task` gives samples and scores answers; it never calls a model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Protocol, runtime_checkable

from rlm_eval.core.types import Answer, Density, Sample, Score

Floor = Callable[[Sample], str]
"""An answer function that needs no model (`floors()`)."""


class Task(Protocol):
    """A benchmark's configuration: a frozen dataclass, one YAML in `configs/task/`."""

    @property
    def name(self) -> str:
        """Name in tables. Generated data never carries a real benchmark's name."""
        ...

    @property
    def density(self) -> Density:
        """How much of the context must be processed as it grows."""
        ...

    @property
    def generated(self) -> bool:
        """True where the data come from our own generator; every table and figure says so."""
        ...

    @property
    def protected(self) -> bool:
        """True where the text must not leave the run directory (reports, exports)."""
        ...

    def samples(self) -> Iterator[Sample]:
        """The samples of the cell, in a fixed order; the same configuration gives the same ones."""
        ...

    def score(self, sample: Sample, answer: Answer) -> tuple[Score, ...]:
        """Every scorer's verdict, the headline first. `answer.text` may be `None` (no answer)."""
        ...

    def gold_answer(self, sample: Sample) -> Answer:
        """The gold in the form a perfect method would give it: scores 1 (the `oracle` method)."""
        ...

    def floors(self) -> Mapping[str, Floor]:
        """Answer functions that need no model, by name; the score a method has to beat."""
        ...


@runtime_checkable
class JudgedTask(Protocol):
    """A task whose headline score comes from a judge model: the runner makes the call."""

    def judge_prompt(self, sample: Sample, answer: Answer) -> str | None:
        """What the judge is asked; `None` where no judgement is needed (no answer)."""
        ...

    def judge_score(self, sample: Sample, answer: Answer, verdict: str) -> Score:
        """Reads the judge's reply. Raises `ValueError` where it cannot be parsed."""
        ...


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
