"""Baselines without a model: answers from golds and rules, as reference points for a score.

Every task has three kinds:

- **skimmer**: a perfect reader of a small part of the text. It reads the first items, a random
  share, or the matches of a string search or a regular expression.
- **no-model baseline**: may use the whole text but understands nothing: the prior, frequency rules,
  positions, choices alone, keyword lists.
- **bag of words**, for tasks with labels: a word classifier trained on other seeds. It has learnt
  the labels, so it is reported but never fails a task.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from rlm_eval.core.baseline_kinds import Kind as Kind
from rlm_eval.core.types import Sample


@dataclass(frozen=True)
class Reply:
    """A baseline's answer to one sample."""

    text: str
    """The answer, in the form that the scorers read."""
    read: float
    """Share of the context's characters that it had to read, 0 to 1."""


@dataclass(frozen=True)
class Baseline:
    """One rule that answers a task's samples without a model."""

    name: str
    """Name such as `first_5_percent` or `most_frequent_name`; unique within a task."""
    kind: Kind
    answer: Callable[[Sample], Reply]
    """May read `sample.target` only as a skimmer: the gold of the part that it read."""
