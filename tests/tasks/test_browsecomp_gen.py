import dataclasses
import re

import bm25s
import pytest

from rlm_eval.core.types import Answer
from rlm_eval.tasks.base import data
from rlm_eval.tasks.browsecomp.chronicle import chronicle, documents_of_a_community
from rlm_eval.tasks.browsecomp.community import (
    KINDS,
    TRAITS,
    Size,
    community,
    kind_of,
    puzzle,
)
from rlm_eval.tasks.browsecomp.gen import BrowseCompGen
from rlm_eval.tasks.browsecomp.rules import shapes
from rlm_eval.tasks.validate import lines, passed, validate
from rlm_eval.tasks.world import long_names, long_names_of, names

MINI = BrowseCompGen(n=12, documents=100, doc_words_min=60, doc_words_max=150, tokenizer="approx4")


def _samples(**fields):
    return list(dataclasses.replace(MINI, **fields).samples())


def _words(text):
    return set(re.findall(r"[a-z0-9]+", text.lower()))


def test_the_proofs_hold():
    proofs = validate(dataclasses.replace(MINI, documents=15))
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


def _read(texts, kind):
    """What the documents state, by their whole grammar: (name, part) -> phrase or other name."""
    texts_of, found = data("chronicle.json")["kinds"][kind], {}
    name = shapes()[kind].pattern
    called = {call: i for row in texts_of["pair"] + texts_of["three"] for i, call in enumerate(row)}
    last = {row[-1] for row in texts_of["pair"] + texts_of["three"]}
    who = "|".join(map(re.escape, sorted(called, key=len, reverse=True)))
    the = "the " if kind == "institute" else ""
    turns = []
    groups = {part: texts_of[part] for part in ("asides", "relation", "like")}
    groups["traits"] = [turn for group in texts_of["traits"] for turn in group]
    for part, group in groups.items():
        for turn in dict.fromkeys(group):
            pattern = re.escape(turn).replace(r"\{a\}", f"(?P<a>{who})")
            for slot in "bc":
                pattern = pattern.replace(rf"\{{{slot}\}}", f"{the}(?P<b>{name})")
            pattern = pattern.replace(r"\{t\}", "(?P<b>.+?)")
            turns.append((part, re.compile(rf"{pattern}(?:, [^,]+)?\.")))
    for text in texts:
        for sentence in re.findall(r"[^\n]+?\.(?=\s|$)", text):
            before, _, said = sentence.partition(": ")
            matches = [(part, match) for part, turn in turns if (match := turn.fullmatch(said))]
            if matches and matches[0][0] != "asides":  # of "X" and "as they say, X" the latter
                part, match = min(matches, key=lambda found: len(found[1]["b"]))
                named = re.findall(name, before)
                number = -1 if match["a"] in last else called[match["a"]]
                found.setdefault((named[number], part), []).append(match["b"])
    return found


SEEDS = [("a", (60, 150)), ("b", (60, 150)), ("a", (400, 800)), ("b", (400, 800))]


@pytest.mark.parametrize(("seed", "words"), SEEDS)
def test_the_documents_state_the_facts_of_the_world_and_no_others(seed, words):
    """Read back by the whole grammar, which no list of phrases holds."""
    task = BrowseCompGen(doc_words_min=words[0], doc_words_max=words[1])
    kind, world = kind_of(seed), data("world.json")
    said = _read(chronicle(seed, 0, words).documents, kind)
    for entity in community(seed, 0, task.size(seed)):
        told = said.pop((entity.name, "traits"), [])
        own = zip(TRAITS[kind], entity.traits, strict=True)
        phrases = [world[kind][trait][n][0] for trait, n in own if n is not None]
        assert len(told) == len(phrases)
        assert all(any(text in group for text in told) for group in phrases)
        told = said.pop((entity.name, "like" if entity.like else "relation"))
        assert told == [entity.like or entity.other]
    assert said == {}


LONGER = {"doc_words_min": 400, "doc_words_max": 800}


@pytest.mark.parametrize(
    ("documents", "n", "words"),
    [
        (10, 10, {}),
        *(pytest.param(k, 200, {}, marks=pytest.mark.slow) for k in (10, 35)),
        pytest.param(20, 100, LONGER, marks=pytest.mark.slow),
    ],
)
def test_no_rule_without_a_model_comes_near(documents, n, words):
    """Those that know every phrase of the generator included."""
    task = dataclasses.replace(MINI, n=n, documents=documents, seed=2, **words)
    samples = list(task.samples())
    for baseline in task.baselines():
        replies = [baseline.answer(sample) for sample in samples]
        assert all(0 <= reply.read <= 1 for reply in replies)
        scored = zip(samples, replies, strict=True)
        score = sum(task.score(s, Answer(r.text))[0].value for s, r in scored) / len(samples)
        assert score <= (0.3 if n == 10 else 0.15), baseline.name  # one name in twelve, and noise


def test_smaller_sets_are_nested_in_larger_ones_in_the_same_order():
    for few, many in zip(_samples(n=4, documents=20), _samples(n=4), strict=True):
        assert few.question == many.question
        assert few.item == many.item
        larger = list(many.context.value())
        places = [larger.index(text) for text in few.context.value()]
        assert places == sorted(places)


@pytest.mark.parametrize("seed", ["0|0", "0|1", "0|2"])
def test_the_answer_is_unique_over_the_whole_world(seed):
    size = Size(25)
    everyone = [entity for number in range(40) for entity in community(seed, number, size)]
    assert len({entity.name for entity in everyone}) == len(everyone)
    for number in range(6):
        asked = puzzle(seed, number, 2 + number % 3, size)
        assert asked.answers(everyone) == [asked.answer]
        others = [entity for entity in everyone if entity != asked.path[0]]
        assert asked.answers(others) == []  # without its first entity there is none
        assert asked.answer not in {entity.name for entity in asked.path}


@pytest.mark.parametrize(("entities", "alike"), [(25, (2, 1)), (150, (3, 2))])
def test_every_described_entity_is_like_every_other(entities, alike):
    """Each misses one trait of as many others; more have one of the traits alone."""
    size = Size(entities)
    everyone = community("0|0", 0, size)
    described = everyone[: size.described]
    for entity in described:
        same = [other for other in described if other != entity]
        assert sum(other.traits[0] == entity.traits[0] for other in same) == alike[0]
        assert sum(other.traits[1] == entity.traits[1] for other in same) == alike[1]
    halves = [e for e in everyone[size.described :] if e.traits != (None, None)]
    assert len(halves) == size.half_described > 0
    assert all(None in entity.traits for entity in halves)


def test_the_masters_of_those_who_are_alike_are_given_by_name():
    everyone = community("0|0", 0, Size(150))
    by_name = {entity.name: entity for entity in everyone}
    alike = [entity for entity in everyone if entity.like]
    assert len(alike) == 50
    assert len({entity.like for entity in alike}) == 50
    for entity in alike:
        assert by_name[entity.like].other == entity.other
        assert by_name[entity.like].like is None


def test_there_are_names_for_the_largest_sets():
    task = BrowseCompGen(documents=2000)  # of whole length
    assert task.documents == 2000
    with pytest.raises(ValueError, match=r"documents=2601: 10 to \d+ where .* names run out"):
        BrowseCompGen(documents=2601)
    for kind in KINDS:
        many = long_names_of("0|0", kind, 0, 20_000)
        assert len(set(many)) == 20_000 < long_names(kind)
        assert {len(name.split()) for name in many} == {3}
        assert all(len(set(name.split())) == 3 for name in many)
        for found in (names("0|0", kind), many):
            assert not any(
                f" {name} " in f" {longer} "
                for name, longer in zip(sorted(found)[:2000], sorted(found)[1:2001], strict=True)
            )
    with pytest.raises(ValueError, match="names asked for"):
        long_names_of("0|0", "person", 10**6, 1)
    assert {kind_of(str(seed)) for seed in range(9)} == set(KINDS)


def test_the_evidence_lies_in_different_documents():
    for sample in _samples(n=6):
        text = sample.context.text()
        facts = [text[start:end] for start, end in sample.evidence]
        steps = sample.meta["hops"] - 1
        assert 3 + steps <= len(facts) <= 2 + 2 * steps  # both traits, one or two facts a step
        indices = [int(i) for i in sample.meta["evidence_docs"].split(",")]
        assert 2 <= len(indices) <= len(facts)
        assert sample.target[0] in sample.context.value()[int(sample.meta["gold_docs"])]
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
    with pytest.raises(ValueError, match=r"documents=19: 20 to \d+ where they have 40 to 80"):
        BrowseCompGen(documents=19, doc_words_min=40, doc_words_max=80)
    task = BrowseCompGen(n=2, documents=20, doc_words_min=40, doc_words_max=80, tokenizer="approx4")
    assert all(len(sample.context.value()) == 20 for sample in task.samples())
