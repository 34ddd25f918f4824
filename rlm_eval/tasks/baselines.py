"""What a score is read against: answers from golds and rules, without a model.

Three kinds, of every task:

- **skimmer**: a perfect reader of a small part of the text. It reads the first items, a random
  share, or what a string search or a regular expression singles out.
- **no-model baseline**: may look at everything and understands nothing: the prior, frequency
  rules, positions, choices alone, keyword lists.
- **bag of words**, for tasks with labels: a word classifier trained on other seeds. It has learnt
  the labels, so it is printed and fails nothing.
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
    """Such as `first_5_percent` or `most_frequent_name`; unique within a task."""
    kind: Kind
    answer: Callable[[Sample], Reply]
    """May read `sample.target` only as a skimmer does: the gold of what lies in the part read."""
