import dataclasses
import random
import re
from collections import Counter

import pytest

from rlm_eval.core.types import Answer
from rlm_eval.tasks.base import data
from rlm_eval.tasks.needle.paraphrase import Paraphrase, _group

SMALL = Paraphrase(n=12, length=1024, tokenizer="approx4")


def _traits():
    """(asked, phrases beside a name, phrases without one) of trades, habits and terrains."""
    world, own = data("world.json"), data("paraphrase.json")
    trades, habits = (
        [(asked, said, own[trait][i]) for i, (said, asked) in enumerate(world["person"][trait])]
        for trait in ("trade", "habit")
    )
    return trades, habits, [(asked, said, said) for said, asked in world["town"]["terrain"]]


def _read(values, column, sentence):
    """The one value whose phrases of that column are in the sentence."""
    [value] = [i for i, value in enumerate(values) if any(p in sentence for p in value[column])]
    return value


def _people(sample):
    """((trade, habit, name), ...) and ((trade, habit, terrain), ...) read from the text."""
    trades, habits, terrains = _traits()
    named, homes = [], []
    for sentence in re.findall(r"[^.\n]+\.", sample.context.text()):
        if "he one" in sentence:
            traits = (_read(v, 2, sentence) for v in (trades, habits, terrains))
            homes.append(tuple(traits))
        else:
            names = re.findall(r"(?:[A-Z][a-z]+ ){1,2}[A-Z][a-z]+", sentence.removeprefix(" It"))
            [name] = [name.removeprefix("By ") for name in names]
            named.append((_read(trades, 1, sentence), _read(habits, 1, sentence), name))
    return named, homes


def test_exactly_one_person_fits_the_question():
    """Read from the text: one home with the habit and the terrain, one name with its pair."""
    _, habits, terrains = _traits()
    for sample in dataclasses.replace(SMALL, length=16384).samples():
        [habit] = [i for i, value in enumerate(habits) if value[0] in sample.question]
        [terrain] = [i for i, value in enumerate(terrains) if value[0] in sample.question]
        named, homes = _people(sample)
        [trade] = [t for t, h, p in homes if (h, p) == (habit, terrain)]
        assert [name for t, h, name in named if (t, h) == (trade, habit)] == sample.target
        # Hard negatives: others from such a place, with the habit, and with the trade.
        assert sum(p == terrain for _, _, p in homes) >= 2
        assert sum(h == habit for _, h, _ in named) >= 3
        assert sum(t == trade for t, _, _ in named) >= 2


def test_the_three_wordings_of_a_trait_share_no_word():
    """A search for words links neither the two sentences nor the question to them."""
    trades, habits, terrains = _traits()

    def words(*texts):
        return {word for text in texts for word in re.findall(r"[a-z]{4,}", text.lower())}

    for asked, said, linked in trades + habits:
        assert not words(*said) & words(*linked), asked
    for asked, said, linked in habits:
        assert not words(asked) & words(*said, *linked), asked
    for asked, said, _ in terrains:
        assert not words(asked) & words(*said), asked


def test_groups_are_symmetric():
    """Within a group every trade, habit and terrain is as frequent as any other of its kind."""
    for seed in range(50):
        people = _group(random.Random(seed))
        assert len(set(people)) == 6
        assert len({(t, h) for t, h, _ in people}) == len({(h, p) for _, h, p in people}) == 6
        for place, times in enumerate((2, 3, 2)):
            assert set(Counter(person[place] for person in people).values()) == {times}


def test_the_evidence_is_a_sentence_with_the_name_and_one_on_the_home():
    for sample in SMALL.samples():
        text = sample.context.text()
        facts = [text[start:end] for start, end in sample.evidence]
        assert len(facts) == 2
        [named] = [fact for fact in facts if sample.target[0] in fact]
        [home] = [fact for fact in facts if fact != named]
        assert "he one" in home
        assert text.count(sample.target[0]) == 1


def test_names_fill_the_text():
    for sample in SMALL.samples():
        named = set(re.findall(r"[A-Z][a-z]+ [A-Z][a-z]+", sample.context.text()))
        assert len(named) >= 9


def test_naming_everybody_is_no_answer():
    [sample] = dataclasses.replace(SMALL, n=1).samples()
    gold = sample.target[0]
    for text, value in (
        (gold, 1.0), (f"It was {gold}, I think.", 1.0), (f"{gold} or Orla Tallis", 0.5),
        ("Orla Tallis", 0.0), (gold.split()[1], 0.0), ("", 0.0),
    ):  # fmt: skip
        assert SMALL.score(sample, Answer(text))[0].value == value
    everybody = SMALL.score(sample, Answer(sample.context.text()))
    assert everybody[0].value < 0.1
    assert everybody[1].value == 1.0  # RULER's substring recall


@pytest.mark.parametrize(
    ("length", "n"),
    [(1024, 20), *(pytest.param(k, 200, marks=pytest.mark.slow) for k in (1024, 4096))],
)
def test_no_rule_without_a_model_comes_near(length, n):
    task = dataclasses.replace(SMALL, n=n, length=length, seed=3)
    samples = list(task.samples())
    for baseline in task.baselines():
        scores = [task.score(s, Answer(baseline.answer(s).text))[0].value for s in samples]
        assert sum(scores) / n <= (0.15 if n == 200 else 0.3), baseline.name


@pytest.mark.parametrize("fields", [{"length": 1000}, {"depth": 101}])
def test_wrong_values_are_refused(fields):
    with pytest.raises(ValueError, match=r"must be 1024 or more|percent"):
        Paraphrase(**fields)


def test_the_asked_ones_name_lies_anywhere():
    """Versions 2 and 4: the queried person's sentences lay apart, or at a few places."""
    ranks = []
    for sample in dataclasses.replace(SMALL, n=24, length=8192).samples():
        text = sample.context.text()
        ranks += [start / len(text) for start, _ in sample.evidence]
    assert 0.35 < sum(ranks) / len(ranks) < 0.65
    assert sum(rank < 0.25 for rank in ranks) in range(5, 20)
    assert sum(rank > 0.75 for rank in ranks) in range(5, 20)
