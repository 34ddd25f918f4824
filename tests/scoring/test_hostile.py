"""No text that a model may give makes a scorer raise: a scorer that raises stops its cell."""

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from rlm_eval.core.types import Answer
from rlm_eval.scoring import browsecomp
from rlm_eval.scoring.pairs import pairs_f1, pairs_recommended
from rlm_eval.scoring.registry import SCORERS
from rlm_eval.tasks.browsecomp.gen import BrowseCompGen
from rlm_eval.tasks.browsecomp.plus import BrowseCompPlus
from rlm_eval.tasks.codeqa.gen import CodeQAGen
from rlm_eval.tasks.codeqa.sets import CodeQASets
from rlm_eval.tasks.ledger import Ledger
from rlm_eval.tasks.mrcr import MrcrOpenai, MrcrV2Gen
from rlm_eval.tasks.needle.paraphrase import Paraphrase
from rlm_eval.tasks.needle.ruler import FrequentWords, VariableTracking
from rlm_eval.tasks.needle.s_niah import SNiah
from rlm_eval.tasks.oolong.gen import OolongGen
from rlm_eval.tasks.oolong.pairs import OolongPairsGen
from rlm_eval.tasks.oolong.real import OolongReal

NINES, ENDLESS = "9" * 400, "9" * 5000
TRICKY = (
    "", " " * 30, ":", "-", "\x00", "\ud800", "٣", "²", NINES, ENDLESS, f"-{ENDLESS}", "1" * 40,
    f"Answer: {ENDLESS}", f"Answer: {NINES}", f"Date: {ENDLESS}", f"Date: 01/01/{ENDLESS}",
    f"Date: {NINES}:{NINES}", f"({ENDLESS}, 2)", f"{ENDLESS},{ENDLESS}", f"\\boxed{{{ENDLESS}}}",
    f"\\boxed{{{NINES}}}", ",".join(map(str, range(150))), "1" + ",000" * 200, "1." + "5" * 5000,
    "nan", "inf", "-1e999", "Answer: January 99999", "Date: 31/31/31", "Date: 1.1e400",
    "The correct answer is (", "<think>", "</think>", "confidence: " + ENDLESS, "Answer: 1/2023",
)  # fmt: skip
PIECES = (
    *TRICKY, "Answer", "Label", "User", "more common than", "(", ")", "[", "A", ",", ".", "\n",
    "**", "12345", "01/02/2023", "February 2023", "PM", "UTC",
)  # fmt: skip
TEXTS = st.one_of(
    st.text(),
    st.sampled_from(TRICKY),
    st.lists(st.sampled_from(PIECES), max_size=8).map("".join),
)
LIGHT = settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)

KINDS = {
    "NUMERIC": "[10]",
    "LABEL": "['entity']",
    "USER": "[44106]",
    "DATE": "[datetime.date(2023, 1, 3)]",
    "MONTH_YEAR": "['May 2023']",
    "COMPARISON": "['more common than']",
}
ROWS = [
    *((f"oolong_{how}", {"gold": gold, "answer_type": f"ANSWER_TYPE.{kind}"})
      for how in ("official", "lenient", "fixed") for kind, gold in KINDS.items()),
    *(("oolong_real", {"gold": gold}) for gold in ("12", "Fireball", "a, b")),
    ("ruler_all", {"gold": ["1234567", "word"]}),
    ("ruler_part", {"gold": ["1234567", "word"]}),
    ("longbench_v2", {"gold": "A"}),
    ("mrcr_openai", {"gold": "abcdef", "prefix": "abc"}),
    ("mrcr_v2", {"gold": "Ab3dEf6hIj9k x"}),
    ("pairs_f1", {"gold": "(1, 2)"}),
    ("set_f1", {"gold": ["amber_kettle", "calm_raft"]}),
    ("browsecomp_judge", {"gold": "x"}),
]  # fmt: skip
SMALL = {"n": 1, "length": 1024, "tokenizer": "approx4"}


def everywhere(test):
    for text in TRICKY:
        test = example(text)(test)
    return LIGHT(test)


def test_every_scorer_is_tried():
    assert {name for name, _ in ROWS} == set(SCORERS)


@pytest.mark.parametrize(("name", "row"), ROWS)
def test_no_text_makes_a_scorer_raise(name, row):
    @everywhere
    @given(TEXTS)
    def scored(text):
        SCORERS[name]({**row, "output": text})

    scored()


def _tasks():
    short = {"n": 1, "documents": 10, "doc_words_min": 60, "doc_words_max": 150}
    yield BrowseCompGen(**short, tokenizer="approx4"), {}
    for surface in ("official", "rlm"):
        yield CodeQAGen(**SMALL | {"length": 4096}, surface=surface), {}
    yield CodeQASets(**SMALL | {"length": 4096}), {}
    yield Paraphrase(**SMALL), {}
    yield from ((task(**SMALL), {}) for task in (Ledger, VariableTracking, SNiah))
    yield FrequentWords(**SMALL | {"length": 4096}), {}
    yield MrcrV2Gen(**SMALL | {"length": 8192}), {}
    yield OolongPairsGen(**SMALL), {}
    for kind, gold in KINDS.items():
        yield OolongGen(**SMALL), {"target": gold, "meta": {"answer_type": f"ANSWER_TYPE.{kind}"}}


def _loaded():
    yield BrowseCompPlus(), {"target": ["x"]}
    yield MrcrOpenai(path="unread"), {"target": "abcdef", "meta": {"prefix": "abc"}}
    yield OolongReal(), {"target": "12"}


def test_no_text_makes_a_task_raise(tmp_path, monkeypatch):
    monkeypatch.setenv("RLM_EVAL_CACHE", str(tmp_path))
    cases = [(task, replace(next(task.samples()), **more)) for task, more in _tasks()]
    cases += [(task, replace(cases[0][1], **more)) for task, more in _loaded()]

    @everywhere
    @given(TEXTS)
    def scored(text):
        for task, sample in cases:
            for score in task.score(sample, Answer(text)):
                assert 0.0 <= score.value <= 1.0, (task, score)

    scored()


@pytest.mark.parametrize("value", [[[float("inf"), 1]], [10**5000], [(10**5000, 1)], [[None, 1]]])
def test_no_object_makes_the_pairs_raise(value):
    assert pairs_f1("(1, 2)", value).value == 0.0
    assert pairs_recommended("(1, 2)", value).value == 0.0


def test_a_right_pair_beside_an_endless_id_counts():
    assert pairs_f1("(1, 2)", f"(1, 2), (1, {ENDLESS})").value == 1.0


@pytest.mark.parametrize("text", ['{"a": ' + "[" * 100_000 + "}", f'{{"a": {ENDLESS}}}'])
def test_a_verdict_beside_what_json_cannot_read(text):
    assert browsecomp.strict_verdict(f'{{"correct": true}} {text}') is True
