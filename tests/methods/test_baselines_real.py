"""Every baseline once on the default real model, at a small length: it runs, and is metered."""

from pathlib import Path

import fetched
import pytest
from runs import cells_of

from rlm_eval.config.cell import run_folder, sweep_budget
from rlm_eval.config.grid import expand
from rlm_eval.core.types import Outcome
from rlm_eval.methods.context_window import FRAME
from rlm_eval.records.build import rows
from rlm_eval.runner.runner import Runner

BASELINES = {
    "long_context": [],
    "rag": [],
    "closed_book": [],
    "prequery_bm25": ["method.chunk_by=lines", "method.chunk_size=2", "method.top_k=5"],
    "program_grep": [],
    "program_map": ["method.settings.chunk_chars=2000"],
    "program_label_count": [],
    "program_matched": [],
    "lambda_rlm": ["method.leaf_tokens=400"],
    "react_bm25": ["method.chunk_by=lines", "method.chunk_size=2", "method.max_turns=2"],
    "summary_agent": ["method.piece_tokens=400", "method.summary_tokens=150"],
    "summary_map_reduce": ["method.piece_tokens=400", "method.summary_tokens=150"],
    "codeact": ["method.max_turns=2"],
    "codeact_sub": ["method.max_turns=2"],
    "codeact_bm25": ["method.chunk_by=lines", "method.chunk_size=2", "method.max_turns=2"],
    "floor_oracle": [],
}

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("method", ["rag_dense", "rag_hybrid"])
async def test_dense_retrieval_by_a_real_embedder(tmp_path: Path, method: str) -> None:
    """A server of ours gives the vectors; they are metered, and what they find is measured."""
    given = [f"method={method}", "method.chunk_size=40", "method.top_k=3", "method.embed_batch=4"]
    given += ["model@embed=smollm2-embed", "model@root=scripted", "task=s_niah", "length=512"]
    # A context of its own: vectors are kept by content in the process.
    given += ["n=1", f"seed={len(method)}", f"results={tmp_path}", "name=dense"]
    (cell,) = cells_of(given)
    fetched.weights(cell.models["embed"])
    config = expand(given)[0]
    folder = run_folder(config)
    summary = await Runner(folder, [cell], sweep_budget(config)).run()
    assert not summary.unfinished
    (row,) = rows(folder / "cells" / cell.id)
    assert row["outcome"] == Outcome.OK
    chunks = row["note_embedded_chunks"]
    assert chunks > 5
    assert row["n_other_calls"] == -(-chunks // 4) + 1  # the chunks by fours, and the question
    assert row["input_tokens"] - row["root_input_tokens"] > 100
    assert row["note_embed_first_rate"] > 0
    assert 0 <= row["note_retrieval_recall"] <= 1


async def test_the_default_embedder_finds_needles_in_other_words(tmp_path: Path) -> None:
    """Needle and question share no content word, so that BM25 finds none of these by it."""
    given = ["method=rag,rag_dense", "method.chunk_size=40", "method.top_k=2", "n=4", "seed=7"]
    given += [
        "model@root=scripted",
        "task=s_niah",
        "task.style=paraphrase",
        "task.keys=8",
        "length=512",
    ]
    given += [f"results={tmp_path}", "name=paraphrase", "max_samples=1"]
    words, dense = cells_of(given)
    assert dense.models["embed"].query_prefix == "search_query: "
    fetched.weights(dense.models["embed"])
    config = expand(given)[0]
    folder = run_folder(config)
    summary = await Runner(folder, [words, dense], sweep_budget(config)).run()
    assert not summary.unfinished
    found = {
        cell.method.name: sum(
            row["note_retrieval_recall"] for row in rows(folder / "cells" / cell.id)
        )
        for cell in (words, dense)
    }
    assert found["rag_dense"] > found["rag"]


async def test_a_cut_is_exact_on_a_real_server(tmp_path: Path) -> None:
    """The server counts: the prompt it bills is the longest that leaves room for a reply."""
    given = ["method=long_context_tail", "method.reserve_tokens=40", "model@root=smollm2"]
    given += ["root.window=512", "root.sampling.max_output_tokens=20", "task=ledger", "length=1k"]
    given += ["n=1", f"results={tmp_path}", "name=cut"]
    cells = cells_of(given)
    fetched.weights(cells[0].models["root"])
    config = expand(given)[0]
    folder = run_folder(config)
    summary = await Runner(folder, cells, sweep_budget(config)).run()
    assert not summary.unfinished
    (row,) = rows(next((folder / "cells").iterdir()))
    most = 512 - 40 - FRAME
    assert most - 12 <= row["input_tokens"] <= most
    assert row["note_tokens_by"] == "server"
    assert 0 < row["note_kept_tokens"] < row["note_total_tokens"]
    assert (row["n_root_calls"], row["n_failed_calls"]) == (1, 0)


async def test_every_baseline_on_a_real_model(tmp_path: Path) -> None:
    common = ["task=s_niah", "model@root=coder-0.5b", "length=1k", "n=1", f"results={tmp_path}"]
    common += ["root.sampling.max_output_tokens=120", "root.sampling.temperature=0", "name=real"]
    given = {m: [f"method={m}", *more, *common] for m, more in BASELINES.items()}
    cells = {m: cells_of(overrides)[0] for m, overrides in given.items()}
    fetched.weights(cells["rag"].models["root"])
    config = expand(given["rag"])[0]
    folder = run_folder(config)
    summary = await Runner(folder, list(cells.values()), sweep_budget(config)).run()
    assert not summary.unfinished
    for method, cell in cells.items():
        (row,) = rows(folder / "cells" / cell.id)
        shown = {k: row[k] for k in ("outcome", "score", "n_calls", "input_tokens", "wall_seconds")}
        print(method, shown)  # what it came to is shown with -s; a small model may fail any of them
        missing = [o.value for o in Outcome if o.is_missing]
        assert row["outcome"] not in [*missing, Outcome.CONTEXT_OVERFLOW, Outcome.REPL_CRASH]
        if method == "floor_oracle":
            assert (row["n_calls"], row["score"]) == (0, 1.0)
        else:
            assert row["n_calls"] >= 1
            assert row["input_tokens"] > 0
            assert row["output_tokens"] > 0
