"""OOLONG's baselines: what they read, what they answer, and that the headline set resists them."""

import itertools
import json
import random
from dataclasses import replace
from datetime import date

import pytest

from rlm_eval.core.types import Answer
from rlm_eval.tasks.baselines import Kind
from rlm_eval.tasks.oolong.gen import OolongGen
from rlm_eval.tasks.oolong.grammar import LABELS
from rlm_eval.tasks.oolong.pairs import OolongPairsGen
from rlm_eval.tasks.oolong.questions import Gold, ask, forms
from rlm_eval.tasks.oolong.read import read_question
from rlm_eval.tasks.oolong.synth import OolongSynth
from rlm_eval.tasks.oolong.window import Row, Window

ALL = {
    "prior", "no_labels", "first_1_percent", "random_1_percent", "first_5_percent",
    "random_5_percent", "first_25_percent", "random_25_percent", "search_named",
    "keyword_rules", "bag_of_words",
}  # fmt: skip


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("RLM_EVAL_CACHE", str(tmp_path / "cache"))


def task(**fields):
    return OolongGen(**{"n": 5, "length": 2048, "tokenizer": "approx4"} | fields)


KINDS = [
    "C1", "C2", "C3", "C4", "C1user", "C3month", "C4range", "U1", "U2", "U4", "U5",
    "T1", "T2", "T3", "T4", "T7", "T8", "T9",
]  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_a_question_is_read_back_from_its_words(kind):
    window = Window("read", len)
    source = random.Random(kind)
    rows = [Row(738_000 + i, 10_000 + i, "t", LABELS[0]) for i in range(12)]
    for form in itertools.islice(forms(kind, window.priors, rows, source), 8):
        question = ask(form, Gold("", 0, 0, 3), LABELS)
        assert read_question(question) == (form, 3 if form.kind == "T3" else 0)


def test_the_benchmarks_own_faults_are_read_and_other_words_are_not():
    faulty = (
        "In which month did the label 'entity first occur more often than the label 'location'?"
    )
    form, _ = read_question(faulty)
    assert (form.kind, form.a, form.b) == ("T7", "entity", "location")
    form, _ = read_question("In the above data, which user has the most instances with the label "
                            "human being? Give your final answer")  # fmt: skip
    assert (form.kind, form.a) == ("U4", "human being")
    assert read_question("What is the capital of France?") is None
    several = "associated with user IDs 10001, 10002. Among instances associated with these users,"
    assert read_question(f"{several} which of the labels is the most common?") is None


def test_baselines_read_what_they_say_and_a_search_finds_the_named_user():
    made = task(scope="user")
    found = {baseline.name: baseline for baseline in made.baselines()}
    assert set(found) == ALL
    assert {b.kind for b in found.values()} == set(Kind)
    for sample in made.samples():
        reply = found["search_named"].answer(sample)
        assert made.score(sample, Answer(reply.text))[0].value == 1.0
        assert 0 < reply.read < 0.25
        assert found["first_25_percent"].answer(sample).read < 0.3


def test_a_reader_of_everything_is_right_and_guesses_are_scaled_up():
    made = task(length=4096)
    from rlm_eval.tasks.oolong.baselines import guess

    for sample in made.samples():
        rows = made.labelled(sample)
        assert guess(sample, rows, len(rows)) == made.gold_answer(sample).text
    counted = next(s for s in made.samples() if s.meta["kind"] == "C4")
    rows = made.labelled(counted)
    assert date.fromordinal(rows[0].day)
    half = guess(counted, rows[: len(rows) // 2], len(rows))
    assert abs(int(half.split()[-1]) - int(counted.target.strip("[]"))) < len(rows) // 4


@pytest.mark.slow
@pytest.mark.parametrize("family", ["question", "subject", "claims"])
def test_no_skimmer_and_no_rule_comes_near_at_two_lengths(family):
    """The rule of `validate`: more than prior + .15 at two lengths fails a task."""
    beyond = []
    for length in (4096, 16384):
        made = task(family=family, n=100, length=length, seed=11)
        samples, scores = list(made.drawn()), {}
        for baseline in made.baselines():
            answers = [made.score(s, Answer(baseline.answer(s).text))[0].value for s in samples]
            scores[baseline.kind] = max(scores.get(baseline.kind, 0.0), sum(answers) / len(answers))
        allowed = scores[Kind.PRIOR] + 0.15
        beyond.append({k for k in (Kind.SKIMMER, Kind.NO_MODEL) if scores[k] > allowed})
    assert not beyond[0] & beyond[1]


def test_pairs_have_baselines_over_the_same_windows():
    made = OolongPairsGen(n=2, length=4096, tokenizer="approx4")
    for sample in made.samples():
        replies = {b.name: b.answer(sample) for b in made.baselines()}
        assert replies["first_25_percent"].read < 0.3
        assert made.score(sample, Answer(replies["all_pairs"].text))[0].value > 0


@pytest.fixture
def synth(tmp_path):
    """A local copy of the hub's shape, with labelled texts, made from our generator."""
    rows = []
    for scope in ("headline", "user", "easy"):
        plain = OolongGen(
            n=10, length=2048, size="official_lines", scope=scope, tokenizer="approx4"
        )
        shown = replace(plain, with_labels=True)
        for i, (one, other) in enumerate(zip(plain.samples(), shown.samples(), strict=True)):
            names = ("answer_type", "task", "task_group")
            rows.append({
                "id": len(rows), "context_len": 2048, "dataset": "trec_coarse",
                "context_window_text": one.context.text(),
                "context_window_text_with_labels": other.context.text(),
                "question": one.question, "answer": one.target, "input_subset": "False",
                "context_window_id": i // 5, **{k: one.meta[k] for k in names},
            })  # fmt: skip
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    return {"path": str(path), "length": 2048, "tokenizer": "approx4"}


def test_the_core_subset_of_the_benchmarks_data(synth):
    every = list(OolongSynth(**synth).samples())
    core = list(OolongSynth(**synth, subset="core").samples())
    assert 0 < len(core) < len(every)
    kinds = [read_question(sample.question)[0] for sample in core]
    assert {form.scope for form in kinds} <= {"global", "range"}
    assert not {form.kind for form in kinds} & {"U1", "U2", "T1", "T2", "T3", "T7"}
    made = OolongSynth(**synth)
    skimmer = {b.name: b for b in made.baselines()}["search_named"]
    searched = [s for s in every if s.meta["scope"] == "user" and s.meta["task_group"] == "user"]
    right = [made.score(s, Answer(skimmer.answer(s).text))[0].value for s in searched]
    assert sum(right) / len(right) > 0.9
    with pytest.raises(ValueError, match="subset"):
        OolongSynth(**synth, subset="hard")
