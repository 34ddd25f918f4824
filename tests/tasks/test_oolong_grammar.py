"""The families of texts: many, different, and no word, shape or length gives a label away."""

import functools
import json
import re
from collections import Counter, defaultdict

import pytest

from rlm_eval.tasks.base import data, rng
from rlm_eval.tasks.oolong.grammar import FAMILIES, family
from rlm_eval.tasks.oolong.lines import BagOfWords, keyword_rules, words

FORBIDDEN = {
    "question": r"abbreviat|entit|descript|abstract|concept|human|\bbeing|locat|numer|number|value",
    "subject": r"\b(animals?|meals?|travel\w*|money|music\w*)\b",
    "claims": r"\b(true|false)\b",
    "sentiment": r"\b(pleased|disappointed)\b",
    "request": r"\b(request|report)\b",
    "formal": r"\b(formal|casual)\b",
}


@functools.cache
def texts(name, n, seed=0):
    """`n` texts of each label, as (text, label)."""
    writer = family(name).writer(rng("test", name, seed))
    return [(writer.make(label), label) for _ in range(n) for label in family(name).labels]


@pytest.mark.parametrize("name", FAMILIES)
def test_a_million_combinations_and_no_label_word(name):
    made = family(name)
    assert all(made.combinations(label) >= 10**6 for label in made.labels)
    drawn = [text for text, _ in texts(name, 400)]
    assert len(set(drawn)) >= len(drawn) - 4
    assert not [text for text in drawn if re.search(FORBIDDEN[name], text, re.I)]
    assert not [t for t in drawn if "{" in t or "  " in t or " || " in t or not t[0].isascii()]
    assert "{k}" in made.task
    assert "{labels}" in made.task


def accuracy(name, feature, train=500, test=200):
    """Accuracy of the majority label per feature, on fresh texts, labels equally frequent."""
    seen = defaultdict(Counter)
    for text, label in texts(name, train, "train"):
        seen[feature(text)][label] += 1
    fresh = texts(name, test, "fresh")
    prior = 1 / len(family(name).labels)
    return sum(
        seen[found].most_common(1)[0][0] == label if (found := feature(text)) in seen else prior
        for text, label in fresh
    ) / len(fresh)


FEATURES = {
    "first word": lambda t: t.split()[0],
    "last character": lambda t: t[-1],
    "length": lambda t: len(t) // 8,
    "words": lambda t: len(t.split()) // 2,
    "punctuation": lambda t: tuple(sorted(re.findall(r"[^\w\s]", t))),
    "digits": lambda t: len(re.findall(r"\d", t)),
    "capitals": lambda t: len(re.findall(r"[A-Z]", t)),
    "question mark": lambda t: t.count("?"),
}


@pytest.mark.parametrize("name", FAMILIES)
def test_no_rule_on_the_surface_comes_near_the_labels(name):
    prior = 1 / len(family(name).labels)
    for what, feature in FEATURES.items():
        assert accuracy(name, feature) <= prior + 0.15, what
    label = keyword_rules(family(name).keywords)
    fresh = texts(name, 200, "fresh")
    right = [prior if (found := label(text)) is None else found == true for text, true in fresh]
    assert sum(right) / len(right) <= prior + 0.15


BAG_OF_WORDS = {"claims": 0.6, "question": 0.5, "sentiment": 0.6, "request": 0.6, "formal": 0.6}


@pytest.mark.parametrize("name", BAG_OF_WORDS)
def test_a_trained_bag_of_words_learns_little(name):
    trained = BagOfWords(family(name).labels, texts(name, 1500 // len(family(name).labels)))
    fresh = texts(name, 100, "fresh")
    assert (
        sum(trained.label(text) == label for text, label in fresh) / len(fresh)
        < (BAG_OF_WORDS[name])
    )


def test_every_label_is_mentioned_equally_often_whatever_its_share():
    made = family("question")
    writer = made.writer(rng("mentions"))
    for i in range(300):
        writer.make(made.labels[0 if i % 3 == 0 else i % 6])
    assert max(writer.mentions.values()) - min(writer.mentions.values()) <= 2


def test_a_false_claim_is_never_a_true_one():
    raw = data("oolong_claims.json")
    true = {tuple(pair) for relation in raw["relations"] for pair in relation["pairs"]}
    assert len({x for x, _ in true}) == len(true), "each half has one partner"
    drawn = texts("claims", 300)
    said = {text.lower().rstrip(".").partition(": ")[2]: label for text, label in drawn}
    assert said["a robin is a bird"] == "true" if "a robin is a bird" in said else said
    kinds = re.compile(r"^an? (.+) is (an? .+)$")
    for claim, label in said.items():
        if match := kinds.match(claim):
            assert ((match[1], match[2]) in true) is (label == "true"), claim


def test_words_and_data_are_plain():
    assert words("It's 3 o'clock: A-b") == {"it", "s", "3", "o", "clock", "a", "b"}
    for name in FAMILIES:
        assert json.dumps(data(f"oolong_{name}.json"))
