from pathlib import Path

import pytest
from baseline_bench import open_bench, sample_of

from rlm_eval.core.errors import ConfigError
from rlm_eval.methods.closed_book import ClosedBook
from rlm_eval.methods.floor import Floor
from rlm_eval.methods.rag import Rag

LINES = [f"Note {i}: nothing of interest happened in the hall." for i in range(40)]
LINES[7] = "Note 7: the code of the violet door is 7391."
LINES[31] = "Note 31: the violet door was painted."
TEXT = "\n".join(LINES)
AT = TEXT.index(LINES[7])
EVIDENCE = ((AT, AT + len(LINES[7])),)
QUESTION = "What is the code of the violet door?"


async def test_exact_request_by_position(tmp_path: Path) -> None:
    sample = sample_of(TEXT, QUESTION, evidence=EVIDENCE)
    method = Rag(chunk_by="lines", chunk_size=1, top_k=2)
    async with open_bench(tmp_path, sample, root=["7391"]) as bench:
        answer = await method.solve(sample, bench.session)
        assert bench.requests() == [[("user", f"{LINES[7]}\n\n{LINES[31]}\n\n{QUESTION}")]]
    assert answer.text == "7391"
    assert bench.session.notes == {"retrieved_chunks": 2, "retrieval_recall": 1.0}


async def test_rank_order_and_framed_prompt(tmp_path: Path) -> None:
    sample = sample_of(TEXT, "Was the violet door painted?", evidence=EVIDENCE)
    method = Rag(chunk_by="lines", chunk_size=1, top_k=1, passage_order="rank", prompt="rag/framed")
    async with open_bench(tmp_path, sample, root=["yes"]) as bench:
        await method.solve(sample, bench.session)
        (((_, content),),) = bench.requests()
    assert f"<passages>\n{LINES[31]}\n</passages>" in content
    assert bench.session.notes["retrieval_recall"] == 0.0


async def test_token_budget_bounds_the_passages(tmp_path: Path) -> None:
    sample = sample_of(TEXT, QUESTION)
    method = Rag(chunk_by="lines", chunk_size=1, top_k=None, token_budget=30)
    async with open_bench(tmp_path, sample, root=["x"]) as bench:
        await method.solve(sample, bench.session)
        (((_, content),),) = bench.requests()
    passages = content.removesuffix(QUESTION).split("\n\n")[:-1]
    assert 0 < sum(map(len, passages)) <= 30 * 4
    assert LINES[7] in passages
    assert bench.session.notes["retrieval_recall"] is None


@pytest.mark.parametrize("unit", ["lines", "documents"])
async def test_of_a_best_chunk_over_the_budget_the_beginning_is_kept(tmp_path, unit) -> None:
    value = tuple(LINES) if unit == "documents" else TEXT
    sample = sample_of(value, QUESTION)
    method = Rag(chunk_by=unit, chunk_size=1, top_k=None, token_budget=5)
    async with open_bench(tmp_path, sample, root=["x"]) as bench:
        await method.solve(sample, bench.session)
        (((_, content),),) = bench.requests()
    passage = content.removesuffix(f"\n\n{QUESTION}")
    assert 18 <= len(passage) <= 20
    assert LINES[7].startswith(passage)
    notes = bench.session.notes
    assert notes["budget_too_small"] is True
    assert notes["retrieved_chunks"] == 1
    assert "empty_retrieval" not in notes


async def test_an_empty_retrieval_is_noted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    sample = sample_of("Nothing of the kind.", "Warum?")
    async with open_bench(tmp_path, sample, root=["x"]) as bench:
        await Rag().solve(sample, bench.session)
    assert bench.session.notes["empty_retrieval"] is True
    assert "no chunk was retrieved" in caplog.text


async def test_prequery_takes_documents(tmp_path: Path) -> None:
    sample = sample_of(tuple(LINES), QUESTION)
    method = Rag(label="prequery_bm25", chunk_by="documents", top_k=1, passage_order="rank")
    async with open_bench(tmp_path, sample, root=["x"]) as bench:
        await method.solve(sample, bench.session)
        assert bench.requests() == [[("user", f"{LINES[7]}\n\n{QUESTION}")]]
    assert method.name == "prequery_bm25"


def test_refused_settings() -> None:
    with pytest.raises(ValueError, match="bm25"):
        Rag(retriever="tfidf")
    with pytest.raises(ValueError, match="top_k and token_budget"):
        Rag(top_k=None)
    with pytest.raises(ValueError, match="token_budget=100: not less than chunk_size=200"):
        Rag(top_k=None, token_budget=100)
    Rag(chunk_by="lines", top_k=None, token_budget=100)


@pytest.mark.parametrize("prompt", ["closed_book/plain", "closed_book/guess"])
async def test_closed_book_never_shows_the_context(tmp_path: Path, prompt: str) -> None:
    sample = sample_of(TEXT, QUESTION)
    async with open_bench(tmp_path, sample, root=["a guess"]) as bench:
        answer = await ClosedBook(prompt=prompt).solve(sample, bench.session)
        (((role, content),),) = bench.requests()
    assert (role, answer.text) == ("user", "a guess")
    assert content.endswith(QUESTION)
    assert "Note" not in content


async def test_floors_make_no_call(tmp_path: Path) -> None:
    sample = sample_of(TEXT, QUESTION)
    async with open_bench(tmp_path, sample, root=[]) as bench:
        oracle = Floor().solve_with(sample, lambda s: str(s.target))
        constant = await Floor(floor="constant", text="0").solve(sample, bench.session)
        with pytest.raises(ConfigError, match="solve_with"):
            await Floor(floor="majority").solve(sample, bench.session)
    assert (oracle.text, constant.text) == ("7391", "0")
    assert (Floor().name, Floor().is_oracle) == ("floor_oracle", True)
    with pytest.raises(ValueError, match="floor=constant"):
        Floor(text="x")
