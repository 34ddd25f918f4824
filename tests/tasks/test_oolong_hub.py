"""The benchmark's own data, from local files of the same columns."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rlm_eval.core.errors import ConfigError
from rlm_eval.core.types import Answer
from rlm_eval.tasks.oolong.gen import OolongGen
from rlm_eval.tasks.oolong.real import OolongReal, question_type
from rlm_eval.tasks.oolong.synth import OolongSynth


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("RLM_EVAL_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def rows():
    """Rows of the hub's shape made from our generator: two lengths, one foreign data set."""
    made = []
    for scope, length in (("headline", 1024), ("user", 2048), ("month", 2048)):
        task = OolongGen(
            n=10, length=length, size="official_lines", scope=scope, tokenizer="approx4"
        )
        for i, sample in enumerate(task.samples()):
            made.append(
                {
                    "id": 10_000_000 + i,
                    "context_len": length,
                    "dataset": "trec_coarse",
                    "context_window_text": sample.context.text(),
                    "context_window_text_with_labels": sample.context.text() + "labelled",
                    "question": sample.question,
                    "answer": sample.target,
                    "input_subset": str(scope != "headline"),
                    "num_labels": 6,
                    "context_window_id": i // 5,
                    **{k: sample.meta[k] for k in ("answer_type", "task", "task_group")},
                }
            )
    spam = dict(made[0], dataset="spam", question="foreign")
    first = dict(made[0], question="In which month?", answer_type="ANSWER_TYPE.MONTH_YEAR")
    months = [dict(first, answer=f"['{m}']") for m in ("May 2023", "June 2022", "July 2024")]
    return [spam, *made, *months]


def task(path, **fields):
    return OolongSynth(**{"length": 1024, "path": str(path), "tokenizer": "approx4"} | fields)


@pytest.fixture(params=["jsonl", "parquet"])
def path(request, rows, tmp_path):
    file = tmp_path / f"rows.{request.param}"
    if request.param == "jsonl":
        file.write_text("\n".join(map(json.dumps, rows)))
    else:
        pq.write_table(pa.Table.from_pylist(rows), file)
    return file


def test_only_the_asked_rows_and_golds_score_one(path):
    samples = list(task(path).samples())
    assert len(samples) == 11  # ten questions and one of the three T7 rows
    assert "foreign" not in {sample.question for sample in samples}
    (month,) = [s.target for s in samples if s.question == "In which month?"]
    assert month == "['June 2022']"  # the earliest
    for sample in samples:
        scores = task(path).score(sample, task(path).gold_answer(sample))
        assert [score.scorer for score in scores[:3]] == ["official", "lenient", "fixed"]
        assert scores[0].value == 1.0
        assert sample.length == 1024
    windows = [sample.cluster for sample in samples]
    both = ["oolong_synth|trec_coarse|1024|0", "oolong_synth|trec_coarse|1024|1"]
    assert set(windows) == set(both)
    assert windows[:4] == both * 2, "a small n is drawn over the windows"
    assert [s.id for s in task(path, n=3).samples()] == [s.id for s in samples[:3]]


def test_scope_and_evidence_come_from_the_question(path):
    samples = list(task(path, length=2048).samples())
    assert {sample.meta["scope"] for sample in samples} == {"global", "user", "month"}
    for sample in samples:
        text = sample.context.text()
        lines = text.count("\nDate: ")
        assert (len(sample.evidence) == lines) is (sample.meta["scope"] == "global")
        assert all(text[start:end].startswith("Date: ") for start, end in sample.evidence)


def test_both_surfaces_and_labels(path):
    plain = next(task(path).samples())
    paper = next(task(path, surface="rlm").samples())
    assert paper.question.endswith(f"Answer the following: {plain.question}")
    assert paper.context.hash == plain.context.hash
    assert next(task(path, with_labels=True).samples()).context.text().endswith("labelled")


def test_floors_and_bad_values(path):
    made = task(path)
    for name, floor in made.floors().items():
        values = [made.score(s, Answer(floor(s)))[0].value for s in made.samples()]
        assert 0.0 <= sum(values) / len(values) < 0.7, name
    with pytest.raises(ConfigError, match="no row has dataset=trec_coarse"):
        list(task(path, length=4096).samples())
    with pytest.raises(ValueError, match="trec_coarse"):
        task(path, dataset="trec")
    with pytest.raises(ValueError, match="surface"):
        task(path, dataset="spam", surface="rlm")


def test_oolong_real(tmp_path):
    rows = [
        {"id": "a", "context_window_id": "1", "context_window_text": "Ann: I rolled 7.\n" * 20,
         "question": "How many rolls?", "answer": "42", "question_type": "singledoc_rolls",
         "episodes": [1], "campaign": "c"},
        {"id": "b", "context_window_id": "2", "context_window_text": "x" * 9000, "question": "?",
         "answer": "Fire Bolt, Hex", "question_type": "multidoc_spells", "episodes": [1, 2],
         "campaign": "c"},
    ]  # fmt: skip
    file = tmp_path / "real.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)))
    fields = {"path": str(file), "tokenizer": "approx4"}
    made = OolongReal(**fields, length=4096)
    samples = list(made.samples())
    assert len(samples) == 2
    for sample in samples:
        assert made.score(sample, made.gold_answer(sample))[0].value == 1.0
        assert made.score(sample, Answer(None))[0].value == 0.0
    assert [s.meta["row"] for s in OolongReal(**fields, length=1024).samples()] == ["a"]
    only = OolongReal(**fields, question_type="multidoc_spells")
    assert [s.meta["row"] for s in only.samples()] == ["b"]
    # The data set's column is shifted by a row: the question and its episodes tell.
    kinds = ["singledoc_spells", "multidoc_rolls"]
    asked = ["How many times was Fire Bolt cast?", "How many crits were rolled?"]
    shifted = [
        row | {"question_type": kind, "question": question}
        for row, kind, question in zip(reversed(rows), kinds, reversed(asked), strict=True)
    ]
    assert [question_type(row) for row in shifted] == ["multidoc_rolls", "singledoc_spells"]
    assert made.floors()["speaker"](samples[0]) == "\\boxed{Ann}"
    with pytest.raises(ValueError, match="question_type"):
        OolongReal(**fields, question_type="rolls")
