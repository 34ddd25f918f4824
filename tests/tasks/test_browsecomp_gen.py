import dataclasses
import re

import bm25s
import pytest

from rlm_eval.tasks.base import data
from rlm_eval.tasks.browsecomp_gen import BrowseCompGen
from rlm_eval.tasks.validate import lines, passed, validate
from rlm_eval.tasks.world import base_entity, puzzle
from rlm_eval.types import Answer

MINI = BrowseCompGen(n=12, documents=100, doc_words_min=60, doc_words_max=150, tokenizer="approx4")


def _samples(**fields):
    return list(dataclasses.replace(MINI, **fields).samples())


def _words(text):
    return set(re.findall(r"[a-z0-9]+", text.lower()))


def test_the_proofs_hold():
    proofs = validate(dataclasses.replace(MINI, documents=30))
    assert passed(proofs), "\n".join(lines("browsecomp_gen", proofs))


@pytest.mark.parametrize("documents", [10, 100])
def test_the_greppability_audit(documents):
    """Section 10.3: what a search for words finds must not single the evidence out."""
    found = 0
    for sample in _samples(documents=documents):
        texts = sample.context.value()
        gold = int(sample.meta["gold_docs"])
        assert len(set(texts)) == documents
        others = [text for i, text in enumerate(texts) if i != gold]
        assert sample.target[0] in texts[gold]
        assert sum(sample.target[0] in text for text in others) >= 3
        question = _words(sample.question) - set(data("world.json")["stop"])
        vocabularies = [_words(text) for text in texts]
        for word in question:
            assert sum(word in vocabulary for vocabulary in vocabularies) != 1, word
        index = bm25s.BM25()
        index.index(bm25s.tokenize(list(texts), show_progress=False), show_progress=False)
        query = bm25s.tokenize([sample.question], show_progress=False)
        top, _ = index.retrieve(query, k=10, show_progress=False)
        found += gold in top[0].tolist()
    if documents > 10:  # ten out of ten finds all
        assert found / MINI.n < 0.5


def test_smaller_sets_are_nested_in_larger_ones_in_the_same_order():
    for few, many in zip(_samples(n=4, documents=20), _samples(n=4), strict=True):
        assert few.question == many.question
        assert few.item == many.item
        larger = list(many.context.value())
        places = [larger.index(text) for text in few.context.value()]
        assert places == sorted(places)


def test_the_answer_is_unique_over_the_whole_world():
    seed = "0|0"
    for number in range(10):
        asked = puzzle(seed, number, 2 + number % 3)
        others = [puzzle(seed, n, 2 + n % 3) for n in range(10) if n != number]
        everyone = [*asked.path, *asked.clones]
        everyone += [entity for other in others for entity in (*other.path, *other.clones)]
        base = [base_entity(seed, i) for i in range(2000)]
        everyone += [entity for entity in base if not entity.agrees(asked.path[0])]
        assert asked.answers(everyone) == [asked.answer]
        assert asked.answers(everyone[1:]) == []  # without its first entity there is none
        assert len({entity.name for entity in everyone}) == len(everyone)


def test_hard_negatives_miss_exactly_one_constraint():
    asked = puzzle("0|0", 3, 3)
    first = asked.path[0]
    assert len(asked.clones) >= 10
    for clone in asked.clones:
        same = [
            clone.traits[0] == first.traits[0],
            clone.traits[1] == first.traits[1],
            clone.year // 10 == first.year // 10,
        ]
        assert same.count(False) == 1


def test_a_question_names_a_decade_and_never_a_century():
    """Hard negatives lie 10 to 30 years away: within "the 1800s" as most readers take it."""
    starts = set()
    for number in range(60):
        asked = puzzle("2026|0", number, 2)
        start = asked.path[0].year // 10 * 10
        starts.add(start)
        spans = re.findall(r"\bin the (\d+)s\b|\bbetween (\d+) and (\d+)\b", asked.question)
        century = start % 100 == 0
        assert spans == [("", str(start), str(start + 9)) if century else (str(start), "", "")]
    assert {1800, 1810, 1900} <= starts


def test_every_evidence_document_states_one_fact_in_other_words():
    for sample in _samples(n=3):
        text = sample.context.text()
        facts = [text[start:end] for start, end in sample.evidence]
        indices = [int(i) for i in sample.meta["evidence_docs"].split(",")]
        assert len(facts) == len(indices) == 2 * (sample.meta["hops"] - 1)
        for index in indices:
            assert sum(fact in sample.context.value()[index] for fact in facts) == 1


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
