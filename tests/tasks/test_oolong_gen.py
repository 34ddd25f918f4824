"""`oolong_gen`: exact lengths, right golds, the same questions at every length."""

import itertools
import random
from collections import Counter
from dataclasses import replace
from datetime import date

import pytest

from rlm_eval.core.types import Answer, Density
from rlm_eval.scoring.oolong import read_gold
from rlm_eval.tasks.oolong.gen import OolongGen
from rlm_eval.tasks.oolong.golds import Table, reread
from rlm_eval.tasks.oolong.grammar import LABELS
from rlm_eval.tasks.oolong.questions import Form, ask, forms, official_names, written
from rlm_eval.tasks.oolong.window import FIRST_DAY, LAST_DAY, Row, Window, parse

CATALOGUE = [
    *(f"C{i}" for i in range(1, 5)),
    "U1",
    "U2",
    "U4",
    "U5",
    *(f"T{i}" for i in (1, 2, 3, 4, 7, 8, 9)),
]
SUBSETS = [f"C{i}{part}" for i in range(1, 5) for part in ("user", "month", "range")]


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("RLM_EVAL_CACHE", str(tmp_path))


def task(**fields):
    return OolongGen(**{"n": 10, "length": 4096, "tokenizer": "approx4"} | fields)


@pytest.mark.parametrize("length", [1024, 2048, 8192, 65536])
def test_lengths_are_exact(length):
    made = task(length=length)
    for sample in made.samples():
        tokens = made.counter.count(sample.context.text())
        assert tokens == sample.context.tokens
        total = tokens + made.counter.count(sample.question) + made.ANSWER_BUDGET
        assert length * 0.995 <= total <= length
        assert sample.length == length


@pytest.mark.parametrize("scope", ["headline", "user", "month", "whole"])
def test_gold_scores_one_and_empty_zero(scope):
    made = task(scope=scope, n=10, length=8192)
    for sample in made.samples():
        gold = made.gold_answer(sample)
        assert [s.value for s in made.score(sample, gold) if s.scorer != "lenient"][:2] == [1, 1]
        assert made.score(sample, Answer(None))[0].value == 0.0
        asked = sample.question, sample.meta["scope"]
        assert sample.meta["scope"] in {
            "headline": ("global", "range"),
            "whole": ("global",),
        }.get(scope, (scope,)), asked
    assert made.density is Density.LINEAR
    assert made.generated


@pytest.mark.slow
def test_headline_set_is_close_and_balanced():
    samples = list(task(n=60, length=32768, questions_per_window=10).samples())
    assert sum(sample.meta["close"] for sample in samples) / 60 >= 0.3
    compared = Counter(
        read_gold(s.target)[0]
        for s in samples
        if s.meta["close"] or s.meta["margin"] == 0
        if s.meta["kind"] == "C3"
    )
    assert set(compared) == {"more common than", "less common than", "same frequency as"}
    assert max(compared.values()) <= 0.65 * compared.total()
    assert {sample.meta["kind"] for sample in samples} >= {"C2", "C3", "C4", "T4", "T8", "T9"}


def test_the_same_question_at_every_length():
    by_length = [list(task(n=20, length=length).samples()) for length in (4096, 8192, 16384)]
    for one, other in itertools.pairwise(by_length):
        same = [(a, b) for a, b in zip(one, other, strict=True) if a.item == b.item]
        assert len(same) >= 15
        assert all(
            a.question == b.question or a.meta["kind"] == "T3" or a.meta["kind"][0] == "C"
            for a, b in same
        )
        assert any(a.target != b.target for a, b in same)
        assert [a.cluster for a in one] == [b.cluster for b in other]


def test_same_configuration_same_samples_and_a_longer_run_extends_it(tmp_path, monkeypatch):
    few = list(task(n=5).samples())
    monkeypatch.setenv("RLM_EVAL_CACHE", str(tmp_path / "other"))
    many = list(task(n=10).samples())
    assert [s.id for s in few] == [s.id for s in many[:5]]
    assert [s.id for s in task(n=5, seed=1).samples()] != [s.id for s in few]


def test_evidence_is_the_lines_in_question():
    for sample in task(scope="user", n=10, length=8192).samples():
        text = sample.context.text()
        lines = [text[start:end] for start, end in sample.evidence]
        assert len(lines) == len(set(lines)) > 0
        users = {line.split("User: ")[1].split(" ")[0] for line in lines}
        assert all(user in sample.question for user in users)
    sample = next(iter(task().samples()))
    text = sample.context.text()
    assert sample.meta["scope"] == "global"
    assert len(sample.evidence) == sample.meta["lines"]
    assert parse("\n".join(text[start:end] for start, end in sample.evidence)) == parse(text)


def test_official_lines_and_labels_in_the_context():
    sample = next(iter(task(size="official_lines", length=8192, with_labels=True).samples()))
    rows = parse(sample.context.text())
    assert len(rows) == 188
    assert {row.label for row in rows} <= set(LABELS)
    assert all(row.label for row in rows)


def mean_score(made, samples, answers):
    return sum(made.score(s, Answer(answers(s)))[0].value for s in samples) / len(samples)


def test_floors():
    """Old reports name them. Counting users and dates answers a scope of its own."""
    made = task(n=5, length=2048)
    samples = list(made.samples())
    scores = {name: mean_score(made, samples, floor) for name, floor in made.floors().items()}
    assert set(scores) == {
        "constant_label", "more_common", "n_over_6", "no_labels", "empty", "bag_of_words"
    }  # fmt: skip
    assert scores["empty"] == 0.0 <= scores["more_common"]
    made = task(n=10, scope="easy")
    samples = [s for s in made.samples() if s.meta["kind"] in ("U1", "U2", "T1", "T2", "T3")]
    assert len(samples) >= 3
    assert mean_score(made, samples, made.floors()["no_labels"]) == 1.0


@pytest.mark.parametrize(
    "wrong",
    [
        {"size": "words"},
        {"scope": "all"},
        {"questions_per_window": 0},
        {"length": 100},
        {"family": "topic"},
    ],
)
def test_bad_values_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        task(**wrong)


def random_rows(source, n, users, days):
    return [
        Row(
            FIRST_DAY + source.randrange(days),
            source.choice(users),
            f"text {i}",
            source.choice(LABELS[: source.randint(2, 6)]),
        )
        for i in range(n)
    ]


@pytest.mark.parametrize("kind", [*CATALOGUE, *SUBSETS])
def test_two_code_paths_agree_on_windows_full_of_ties(kind):
    priors = Window("x", len).priors
    answered = 0
    for seed in range(60):
        source = random.Random(f"{kind}{seed}")
        span = source.choice([10, 90, LAST_DAY - FIRST_DAY])
        rows = random_rows(source, source.choice([8, 60, 400]), list(range(10000, 10012)), span)
        lines = [(date.fromordinal(row.day), row.user, row.label) for row in rows]
        for form in itertools.islice(forms(kind, priors, rows, source), 5):
            gold = Table(rows).gold(form)
            if gold is not None:
                answered += 1
                assert Form.read(form.written) == form
                assert reread(form, gold, lines) == gold.value
                assert read_gold(written(gold.value))
                assert ask(form, gold, LABELS).count("'") % 2 == 0
                assert official_names(form)["answer_type"].startswith("ANSWER_TYPE.")
    assert answered > 10


def labelled(*labels):
    return [Row(FIRST_DAY, 1, "t", label) for label in labels]


def test_the_least_common_label_is_asked_only_where_each_label_occurs():
    """The question lists all labels: one that does not occur is a defensible answer, too."""
    gold = Table(labelled(*LABELS, *LABELS[1:])).gold(Form("C2"))
    assert (gold.value, gold.margin) == (LABELS[0], 1)
    assert Table(labelled(*LABELS[1:], *LABELS[2:])).gold(Form("C2")) is None
    assert Table(labelled(*LABELS)).gold(Form("C2")) is None


@pytest.mark.parametrize("scope", ["headline", "user", "month"])
def test_where_no_least_common_label_is_clear_another_question_is_asked(scope):
    made = task(scope=scope, length=1024, n=15, questions_per_window=1, seed=2026)
    for sample in made.samples():
        if sample.meta["kind"] == "C2":
            number = sample.index // made.questions_per_window
            form = Form.read(sample.item.partition("|")[2])
            rows = made.text(number, form).rows
            assert {row.label for row in rows if form.holds(row)} == set(LABELS)


def rows_of(*cells):
    return [Row(date(2023, m, d).toordinal(), user, "t", label) for m, d, user, label in cells]


def test_known_faults_of_the_generator_are_repaired():
    rows = rows_of((1, 5, 1, "entity"), (2, 5, 1, "location"), (2, 6, 1, "location"),
                   (3, 7, 2, "location"), (3, 8, 2, "location"), (3, 9, 2, "entity"))  # fmt: skip
    t7 = Table(rows).gold(Form("T7", "location", "entity"))
    assert t7.value == "February 2023"  # the first month only
    question = ask(Form("T7", "location", "entity"), t7, LABELS)
    assert "the label 'location' first occur more often than the label 'entity'?" in question
    many = [Row(FIRST_DAY + i // 2, i, "t", "entity") for i in range(240)]
    assert Table(many).gold(Form("T3")).value == 120  # not only the 50 most common dates
    tied = rows_of((1, 1, 1, "entity"), (1, 2, 1, "location"))
    assert Table(tied).gold(Form("U4", "entity")) is None
    user = Form("U5", "entity", user=7, other=8)
    assert ask(user, replace(t7, value=7), LABELS).count("label 'entity'") == 1


def test_the_whole_scope_asks_about_labels_alone_and_needs_every_line():
    made = task(scope="whole", n=24, length=4096, family="subject")
    kinds = [sample.meta["kind"] for sample in made.samples()]
    assert set(kinds) == {"C2", "C3", "C4"}
    assert min(kinds.count(kind) for kind in set(kinds)) >= 5
    assert not made.solved_by_code
    assert {s.meta["kind"] for s in task(scope="whole", n=12, family="claims").samples()} > {"C1"}
