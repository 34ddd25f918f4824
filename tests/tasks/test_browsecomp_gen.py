import dataclasses
import re

import bm25s
import pytest

from rlm_eval.core.types import Answer
from rlm_eval.tasks.base import data, rng
from rlm_eval.tasks.browsecomp.chronicle import Writer, documents_of_a_community
from rlm_eval.tasks.browsecomp.gen import BrowseCompGen
from rlm_eval.tasks.validate import lines, passed, validate
from rlm_eval.tasks.world import CYCLES, TRAITS, community, cycle, names, puzzle

MINI = BrowseCompGen(n=12, documents=100, doc_words_min=60, doc_words_max=150, tokenizer="approx4")


def _samples(**fields):
    return list(dataclasses.replace(MINI, **fields).samples())


def _words(text):
    return set(re.findall(r"[a-z0-9]+", text.lower()))


def test_the_proofs_hold():
    proofs = validate(dataclasses.replace(MINI, documents=30))
    assert passed(proofs), "\n".join(lines("browsecomp_gen", proofs))


def test_a_search_for_words_does_not_single_the_evidence_out():
    found = 0
    for sample in _samples():
        texts = sample.context.value()
        gold = int(sample.meta["gold_docs"])
        assert len(set(texts)) == 100
        assert sample.target[0] in texts[gold]
        assert sum(sample.target[0] in text for text in texts) >= 3
        index = bm25s.BM25()
        index.index(bm25s.tokenize(list(texts), show_progress=False), show_progress=False)
        query = bm25s.tokenize([sample.question], show_progress=False)
        top, _ = index.retrieve(query, k=10, show_progress=False)
        found += gold in top[0].tolist()
    assert found / MINI.n < 0.5


def test_no_phrase_of_a_trait_shares_a_word_with_its_question():
    world = data("world.json")
    stop = {*world["stop"], "without", "own"}
    for kind, lists in TRAITS.items():
        for phrases, asked in (pair for trait in lists for pair in world[kind][trait]):
            stems = {word[:5] for word in _words(asked) - stop}
            for phrase in phrases:
                shared = stems & {word[:5] for word in _words(phrase) - stop}
                assert not shared, (kind, phrase, asked)


def test_every_turn_of_a_fact_also_stands_in_near_misses():
    """About a cousin, a rival, a parody: no fixed phrase singles the facts out."""
    world = data("world.json")
    for seed, kinds in (("d", CYCLES[0]), ("a", CYCLES[1])):
        assert cycle(seed) == kinds
        entities = community(seed, 0, 12)
        writer = Writer(rng("turns", seed), kinds, entities, entities, 1)
        near = "\n".join(writer.other().text for _ in range(4000))
        turns = [turn for kind in kinds for turn in world["profile"][kind]["true"]]
        for kind, following in zip(kinds, (*kinds[1:], kinds[0]), strict=True):
            turns += world["relation"][f"{kind}-{following}"]["true"]
        for turn in turns:
            assert max(re.split(r"\{\w+\}", turn), key=len) in near, turn


@pytest.mark.parametrize(
    ("documents", "n"),
    [(10, 10), *(pytest.param(k, 200, marks=pytest.mark.slow) for k in (10, 35))],
)
def test_no_rule_without_a_model_comes_near(documents, n):
    task = dataclasses.replace(MINI, n=n, documents=documents, seed=2)
    samples = list(task.samples())
    for baseline in task.baselines():
        replies = [baseline.answer(sample) for sample in samples]
        assert all(0 <= reply.read <= 1 for reply in replies)
        scored = zip(samples, replies, strict=True)
        score = sum(task.score(s, Answer(r.text))[0].value for s, r in scored) / len(samples)
        assert score <= (0.15 if n == 200 else 0.3), baseline.name  # one name in twelve, and noise


def test_smaller_sets_are_nested_in_larger_ones_in_the_same_order():
    for few, many in zip(_samples(n=4, documents=20), _samples(n=4), strict=True):
        assert few.question == many.question
        assert few.item == many.item
        larger = list(many.context.value())
        places = [larger.index(text) for text in few.context.value()]
        assert places == sorted(places)


@pytest.mark.parametrize("seed", ["0|0", "0|1", "0|2"])
def test_the_answer_is_unique_over_the_whole_world(seed):
    everyone = [entity for number in range(40) for entity in community(seed, number, 12)]
    assert len({entity.name for entity in everyone}) == len(everyone)
    for number in range(10):
        asked = puzzle(seed, number, 2 + number % 3, 12)
        assert asked.answers(everyone) == [asked.answer]
        others = [entity for entity in everyone if entity != asked.path[0]]
        assert asked.answers(others) == []  # without its first entity there is none
        assert asked.answer != asked.path[0].name


def test_every_entity_of_a_community_is_like_every_other():
    """Each is the object of one relation, and misses one trait of as many others."""
    entities = community("0|0", 0, 12)
    assert len({entity.other for entity in entities}) == len(entities) == 36
    for entity in entities:
        same = [other for other in entities if other.kind == entity.kind and other != entity]
        assert sum(other.traits[0] == entity.traits[0] for other in same) == 3
        assert sum(other.traits[1] == entity.traits[1] for other in same) == 2


def test_there_are_names_for_the_largest_set():
    for kind in TRAITS:
        assert len(names("0|0", kind)) >= 18 * 1000
        assert not any(
            f" {name} " in f" {longer} "
            for name, longer in zip(
                sorted(names("0|0", kind))[:2000], sorted(names("0|0", kind))[1:2001], strict=True
            )
        )
    assert {cycle(str(seed)) for seed in range(9)} == set(CYCLES)


def test_the_evidence_lies_in_different_documents():
    for sample in _samples(n=6):
        text = sample.context.text()
        facts = [text[start:end] for start, end in sample.evidence]
        assert len(facts) == sample.meta["hops"]  # the description, and one relation a step
        indices = [int(i) for i in sample.meta["evidence_docs"].split(",")]
        assert 2 <= len(indices) <= len(facts)
        texts = sample.context.value()
        assert all(any(fact in texts[i] for i in indices) for fact in facts)
        assert any(sample.target[0] in fact for fact in facts)


def test_sizes_of_documents():
    lengths = [len(text.split()) for s in _samples(n=3) for text in s.context.value()]
    assert min(lengths) >= 55
    assert max(lengths) <= 155


def test_scoring_needs_the_whole_name():
    task = dataclasses.replace(MINI, n=1, documents=20)
    [sample] = task.samples()
    gold = sample.target[0]
    for text, exact, contained in (
        (gold.upper(), 1.0, 1.0),
        (f"It is {gold}, I think.", 0.0, 1.0),
        (gold[:-1], 0.0, 0.0),
        (f"{gold}x", 0.0, 0.0),
    ):
        assert [s.value for s in task.score(sample, Answer(text))] == [exact, contained]


def test_wrong_values_are_refused():
    for fields in ({"documents": 9}, {"hops": 5}, {"doc_words_min": 200, "doc_words_max": 100}):
        with pytest.raises(ValueError, match=r".+"):
            BrowseCompGen(**fields)


def test_short_documents_need_to_be_more():
    assert documents_of_a_community((40, 80)) == 20
    with pytest.raises(ValueError, match="documents=19: 20 to 10000 where they have 40 to 80"):
        BrowseCompGen(documents=19, doc_words_min=40, doc_words_max=80)
    task = BrowseCompGen(n=2, documents=20, doc_words_min=40, doc_words_max=80, tokenizer="approx4")
    assert all(len(sample.context.value()) == 20 for sample in task.samples())
