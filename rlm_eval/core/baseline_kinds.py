"""Kinds of baselines without a model, which tasks compute and records and reports show."""

from enum import StrEnum

SCHEMA = 1
BUDGETS = (1, 5, 25)
"""Percent of the text that a skimmer reads at most; one item is always allowed."""


class Kind(StrEnum):
    """What a baseline is allowed to do."""

    PRIOR = "prior"
    """Uses the question and its choices, no context: the best constant, or chance."""
    NO_MODEL = "no_model"
    """Applies rules without understanding to the whole context."""
    SKIMMER = "skimmer"
    """Reads a part of the context as well as the gold allows, and nothing of the rest."""
    BAG_OF_WORDS = "bag_of_words"
    """Uses labels learned from texts of other seeds."""
