"""The generated questions: many, different, and not told apart by how they begin."""

import random
import re
from collections import Counter, defaultdict

import pytest

from rlm_eval.tasks.base import data
from rlm_eval.tasks.oolong_grammar import LABELS, combinations, text_maker

LABEL_WORDS = re.compile(
    r"abbreviat|entit|descript|abstract|concept|human|\bbeing|locat|numeric|number|value", re.I
)


def texts(label, n, seed=0):
    make = text_maker(label, random.Random(f"{label}{seed}"))
    return [make() for _ in range(n)]


@pytest.mark.parametrize("label", LABELS)
def test_a_million_combinations_and_no_label_word(label):
    assert combinations(label) >= 10**6
    assert len(data("oolong_grammar.json")["templates"][label]) >= 60
    drawn = texts(label, 4000)
    assert len(set(drawn)) > 3990
    assert not [text for text in drawn if LABEL_WORDS.search(text)]
    openings = Counter(" ".join(text.split()[:2]) for text in drawn)
    assert sum(count > 20 for count in openings.values()) >= 4


def test_slots_are_wide():
    for name, parts in data("oolong_grammar.json")["slots"].items():
        size = 1
        for part in parts:
            size *= len(part)
            assert len(part) == len(set(part)) or name == "acr"
        assert size >= 200, name


def accuracy(words, train=2000, test=500):
    """Accuracy of the majority label per feature, where labels are equally frequent."""
    seen = defaultdict(Counter)
    for label in LABELS:
        for text in texts(label, train):
            seen[words(text)][label] += 1
    right = total = 0
    for label in LABELS:
        for text in texts(label, test, seed=1):
            votes = seen.get(words(text))
            right += votes is not None and votes.most_common(1)[0][0] == label
            total += 1
    return right / total


def test_first_words_and_endings_do_not_give_the_label_away():
    assert accuracy(lambda text: tuple(text.split()[:3])) < 0.6
    assert accuracy(lambda text: text[-1]) < 0.25
    assert accuracy(lambda text: len(text) // 8) < 0.35
