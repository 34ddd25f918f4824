"""The loader on small encrypted files of the hub's columns, with a password of our own."""

import base64
import hashlib
import json
from itertools import cycle

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rlm_eval.core.errors import ConfigError
from rlm_eval.core.types import Answer
from rlm_eval.tasks import JudgedTask
from rlm_eval.tasks.browsecomp.plus import BrowseCompPlus

CANARY = "a canary of the tests"
SECRET = "Zanzibar Quux"


def _lock(value):
    if isinstance(value, str):
        key = cycle(hashlib.sha256(CANARY.encode()).digest())
        return base64.b64encode(
            bytes(b ^ k for b, k in zip(value.encode(), key, strict=False))
        ).decode()
    if isinstance(value, dict):
        return {k: _lock(v) for k, v in value.items()}
    return [_lock(v) for v in value]


def _documents(*ids):
    return [{"docid": i, "text": f"{SECRET} evidence {i}", "url": "u"} for i in ids]


@pytest.fixture
def files(tmp_path, monkeypatch):
    monkeypatch.setenv("BROWSECOMP_PLUS_CANARY", CANARY)
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "hf")
    queries = []
    for number in range(6):
        own = _documents("d1", "d2", f"d{number + 3}")
        row = {
            "query": f"Where is {SECRET} number {number}?",
            "answer": f"{SECRET} {number}",
            "gold_docs": own[:1],
            "evidence_docs": own,
            "negative_docs": _documents("d20", "d21"),
        }
        queries.append({"query_id": str(number)} | {k: _lock(v) for k, v in row.items()})
    (tmp_path / "q.jsonl").write_text("".join(json.dumps(q) + "\n" for q in queries))
    corpus = [{"docid": f"d{i}", "text": f"plain document {i}", "url": "u"} for i in range(40)]
    (tmp_path / "c.jsonl").write_text("".join(json.dumps(d) + "\n" for d in corpus))
    return {
        "path": str(tmp_path / "q.jsonl"),
        "corpus_path": str(tmp_path / "c.jsonl"),
        "tokenizer": "approx4",
    }


def test_k_documents_with_the_evidence_among_them(files):
    samples = list(BrowseCompPlus(n=3, documents=10, **files).samples())
    assert len({s.item for s in samples}) == 3
    for sample in samples:
        texts = sample.context.value()
        assert len(texts) == 10 == len(set(texts))
        assert sum("evidence" in text for text in texts) == 3
        assert [texts[int(i)] for i in sample.meta["gold_docs"].split(",")] == [
            f"{SECRET} evidence d1"
        ]
        text = sample.context.text()
        assert all("evidence" in text[start:end] for start, end in sample.evidence)
        assert sample.target == [f"{SECRET} {sample.item}"]
        assert "Exact Answer:" in sample.question
        assert sample.context.tokens == -(-len(text) // 4)


def test_the_queries_are_a_draw_by_seed(files):
    draws = [
        [s.item for s in BrowseCompPlus(n=3, documents=5, seed=seed, **files).samples()]
        for seed in (0, 0, 1)
    ]
    assert draws[0] == draws[1] != draws[2]


def test_the_fill_policy_and_nesting(files):
    def texts(**fields):
        [sample] = BrowseCompPlus(n=1, **fields, **files).samples()
        return sample.context.value()

    random = texts(documents=10)
    assert sum("evidence d2" in t for t in random) <= 2  # d2, and d20 or d21 only by chance
    negatives = texts(documents=10, fill="negatives+random")
    assert {f"{SECRET} evidence d20", f"{SECRET} evidence d21"} <= set(negatives)
    larger = list(texts(documents=30))
    places = [larger.index(text) for text in random]
    assert places == sorted(places)
    assert len(texts(documents=2)) == 3  # all evidence is kept
    with pytest.raises(ConfigError, match="the corpus has only"):
        texts(documents=100)


def test_nothing_decrypted_is_written(files, cache, tmp_path):
    samples = list(BrowseCompPlus(n=3, documents=10, **files).samples())
    assert any(SECRET in s.context.text() for s in samples)
    written = [p for p in tmp_path.rglob("*") if p.is_file()]
    assert written
    assert not [p for p in written if SECRET.encode() in p.read_bytes()]
    assert not (cache / "contexts").exists()
    assert BrowseCompPlus.protected


def test_the_judge(files):
    task = BrowseCompPlus(n=1, documents=5, **files)
    assert isinstance(task, JudgedTask)
    [sample] = task.samples()
    prompt = task.judge_prompt(sample, Answer("Exact Answer: it"))
    assert sample.target[0] in prompt
    assert f"number {sample.item}?" in prompt
    assert "Exact Answer: it" in prompt
    assert task.judge_prompt(sample, Answer(None)) is None
    good = '{"extracted_final_answer": "it", "correct": true}'
    assert task.judge_score(sample, Answer("it"), good).value == 1.0
    assert task.judge_score(sample, Answer("it"), "correct: no").value == 0.0
    with pytest.raises(ValueError, match="no clear verdict"):
        task.judge_score(sample, Answer("it"), "perhaps")
    assert task.score(sample, task.gold_answer(sample))[0].value == 1.0
    assert task.score(sample, Answer(None))[0].value == 0.0


def test_without_the_canary_one_error_says_where_it_stands(files, monkeypatch):
    monkeypatch.delenv("BROWSECOMP_PLUS_CANARY")
    with pytest.raises(ConfigError, match=r"decrypt_dataset\.py"):
        next(BrowseCompPlus(n=1, **files).samples())


def test_fewer_queries_are_the_first_of_a_larger_draw(tmp_path):
    """Else a run that grows would keep results of queries that it no longer asks."""
    path = tmp_path / "queries.jsonl"
    row = {"query": "", "answer": "", "gold_docs": [], "evidence_docs": []}
    path.write_text("".join(json.dumps({"query_id": str(i), **row}) + "\n" for i in range(400)))
    every = list(BrowseCompPlus(n=400, path=str(path))._chosen())
    assert len(set(every)) == 400
    for n in (5, 30, 60, 90):
        assert list(BrowseCompPlus(n=n, path=str(path))._chosen()) == every[:n]


def test_a_corpus_without_a_column_is_one_error(files, tmp_path):
    (tmp_path / "c.jsonl").write_text('{"id": "d1", "text": "plain"}\n')
    with pytest.raises(ConfigError, match="no column docid"):
        next(BrowseCompPlus(n=1, **files).samples())
    parquet = tmp_path / "c.parquet"
    pq.write_table(pa.table({"id": ["d1"], "text": ["plain"]}), parquet)
    with pytest.raises(ConfigError, match="docid"):
        next(BrowseCompPlus(n=1, **{**files, "corpus_path": str(parquet)}).samples())
