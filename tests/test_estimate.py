"""What a sweep will cost, before anything is called: known figures, a rehearsal, an earlier run."""

import asyncio
import runpy
import socket
from pathlib import Path

import pandas as pd
import pytest
from fake_server import FakeServer, rules
from runs import RULES, overrides, records, run_here

from rlm_eval.commands.estimate import main
from rlm_eval.commands.suite import main as suite
from rlm_eval.config.cell import build_cell
from rlm_eval.config.grid import expand
from rlm_eval.core.renamed import current
from rlm_eval.methods.retrieval.dense import _cache
from rlm_eval.records.build import write_records
from rlm_eval.records.record import load_records
from rlm_eval.runner.execution import ExpectedCost
from rlm_eval.runner.planning.estimate_table import estimates_of, table

ROOT = Path(__file__).parent.parent
GPT = ["model@root=gpt-5", "model@sub=gpt-5-mini"]
NANO = ["model@root=gpt-5", "model@sub=gpt-5-nano"]
CODER = ["model@root=qwen3-coder-480b", "model@sub=same"]
SMALL = ["model@root=qwen3-8b", "model@sub=same", "root.price=fireworks/qwen3-8b"]
TRAINED = ["model@root=rlm-qwen3-8b", "model@sub=same", "root.price=fireworks/qwen3-8b"]
D0, D2, D3 = (["method=rlm", f"method.depth={depth}"] for depth in (0, 2, 3))
PLACES = {
    "codeqa": [["task=codeqa_rlm"]],
    "browsecomp": [["task=browsecomp_plus"]],
    "oolong": [["task=oolong_synth_paper", "length=128k"], ["task=oolong_gen", "length=128k"]],
    "pairs": [["task=oolong_pairs", "length=32k"], ["task=oolong_pairs_gen", "length=32k"]],
}
PUBLISHED = [
    # Mean dollars a task on codeqa, browsecomp, oolong, pairs: arXiv:2512.24601, table 1, v1 to v3.
    (GPT, ["method=long_context"], 0.13, None, 0.14, 0.16),
    (GPT, ["method=codeact"], 0.06, None, 0.61, 0.75),
    (GPT, ["method=codeact_bm25"], None, 0.71, None, None),
    (GPT, ["method=codeact_sub"], 0.06, None, 0.85, 1.11),
    (NANO, ["method=summary_agent"], 1.31, 0.57, 0.13, 0.13),
    (GPT, ["method=rlm"], 0.11, 0.99, 0.43, 0.33),
    (GPT, ["method=rlm_paper_v1"], 0.11, 0.99, 0.43, 0.33),
    (GPT, D0, 0.18, 0.44, 0.37, 0.69),
    (GPT, D2, 0.15, 0.55, 1.10, 0.33),
    (GPT, D3, 0.15, 0.51, 0.51, 0.39),
    (GPT, ["method=react_bm25"], None, 2.06, None, None),
    (CODER, ["method=long_context"], 0.13, None, 0.06, 0.05),
    (CODER, ["method=codeact"], 0.17, None, 1.51, 1.54),
    (CODER, ["method=codeact_bm25"], None, 0.39, None, None),
    (CODER, ["method=codeact_sub"], 0.28, None, 1.83, 1.49),
    (CODER, ["method=summary_agent"], 1.26, 8.98, 0.15, 0.05),
    (CODER, ["method=rlm"], 0.92, 0.84, 0.61, 1.02),
    (CODER, D0, 0.18, 0.82, 0.32, 1.77),
    (CODER, D2, 1.88, 1.05, 1.03, 1.61),
    (CODER, D3, 1.65, 1.10, 0.80, 1.67),
    (SMALL, ["method=long_context"], 0.01, None, None, 0.01),
    (SMALL, ["method=rlm"], 0.04, 0.03, 0.19, 0.05),
    (TRAINED, ["method=rlm"], 0.02, 0.01, 0.04, 0.02),
]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("RLM_EVAL_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def _no_network(monkeypatch):
    def refused(*_):
        raise AssertionError("an estimate reached for the network")

    monkeypatch.setattr(socket.socket, "connect", refused)
    monkeypatch.setattr(socket, "getaddrinfo", refused)
    monkeypatch.delenv("BROWSECOMP_PLUS_CANARY", raising=False)


def cells(*given):
    return [build_cell(config) for config in expand(given)]


def told_of(*given):
    return asyncio.run(estimates_of(cells(*given)))


def test_dense_retrieval_is_rehearsed_with_vectors():
    given = ["task=s_niah", "length=1k", "n=2", "model@root=gpt-5", "method.chunk_size=50"]
    (words,) = told_of(*given, "method=rag")
    (dense,) = told_of(*given, "method=rag_dense", "method.embed_batch=10")
    # Per sample: about 20 chunks by tens, the question, and the root's call.
    assert dense.calls >= 2 * 4
    assert dense.output == words.output, "an embedder writes nothing"
    assert dense.input > words.input + 1000
    # A run that follows in this process embeds for itself: these vectors mean nothing.
    kept = [model for _, _, model in _cache if "nomic-embed" in model]
    assert kept == ["nomic-embed (rehearsed)"]


@pytest.mark.usefixtures("_no_network")
@pytest.mark.parametrize("row", PUBLISHED, ids=lambda row: " ".join([row[0][0], *row[1]]))
def test_every_published_cost_is_within_the_range(row):
    models, method, *costs = row
    for dollars, places in zip(costs, PLACES.values(), strict=True):
        for place in places if dollars is not None else []:
            (found,) = told_of(*models, *method, *place, "n=1", "tokenizer=approx4")
            assert found.cost is not None
            assert found.cost * found.low <= dollars <= found.cost * found.high, (place, found)
            assert found.high / found.low < 100, place


PLACES_OF_OURS = [
    ("s_niah_multikey", 4096, "length=4k"),
    ("oolong_gen", 1024, "length=1k"),
    ("ledger", 2048, "length=2k"),
    ("browsecomp_gen_mini", 1181, "task.documents=10"),
]


@pytest.mark.parametrize(("task", "length", "size"), PLACES_OF_OURS)
def test_our_own_published_tokens_are_within_the_range(task, length, size):
    frame = pd.read_parquet(ROOT / "results/published/length_sweep/records.parquet")
    own = frame[(frame["task"] == task) & (frame["length"] == length)]
    tokens = (own["input_tokens"] + own["output_tokens"]).groupby(own["method"]).mean()
    given = [f"task={task}", size, "model@root=coder-0.5b-vllm", "model@sub=same", "n=1"]
    found = told_of(*given, "method=long_context,program_map,rag,rlm")
    found += told_of(*given, "method=summary_agent", "method.piece_tokens=1000")
    for one, (method, known) in zip(found, tokens.items(), strict=True):
        assert f"-{current(method)}-" in one.cell
        expected = one.input + one.output
        assert expected * one.low <= known <= expected * one.high, one


def test_the_known_figures_are_what_their_script_makes():
    path = ROOT / "scripts" / "make_expectations.py"
    module = runpy.run_path(str(path))
    assert (ROOT / "rlm_eval/runner/planning/data/expectations.json").read_text() == module[
        "made"
    ]()


def test_the_flagship_pair_costs_what_it_cost():
    (found,) = told_of(*GPT, "method=rlm", "task=oolong_gen", "length=128k", "n=50")
    assert found.cost == pytest.approx(50 * 0.43, rel=0.02)
    assert found.calls > 50 * 10, "the sub-calls are in it"
    assert "2512.24601" in table([found])


def test_an_rlm_costs_more_over_a_longer_context():
    given = [*GPT, "method=rlm", "task=oolong_gen", "length=64k,128k,1M", "n=1"]
    costs = [found.cost for found in told_of(*given)]
    assert costs[0] < costs[1] < costs[2] < 20 * costs[1]


def test_a_model_that_nobody_measured_gets_a_wider_range():
    given = ["method=rlm", "task=oolong_gen", "length=128k", "n=1"]
    (known,) = told_of(*GPT, *given)
    (other,) = told_of("model@root=claude-opus", "model@sub=same", *given)
    assert other.high / other.low > known.high / known.low
    assert "other models" in other.source


def test_an_estimate_from_records_prices_each_model_by_its_calls(tmp_path):
    async def run(*more):
        async with FakeServer(reply=rules(RULES)) as server:
            sub = ["model@sub=openai", "sub.model=fake", f"sub.base_url={server.url}"]
            given = overrides(tmp_path, server.url, *sub, "method=rlm", *more)
            await run_here(given)
            return given

    prices = ["root.price=claude-haiku-5-5", "sub.price=gpt-4o"]
    given = asyncio.run(run(*prices))
    write_records(tmp_path / "test")
    known = load_records([tmp_path / "test"])
    paid = sum(row["cost_cold"] for row in records(tmp_path))
    (found,) = asyncio.run(estimates_of(cells(*given, "n=40"), known, "pilot"))
    assert found.samples == 40
    assert found.cost == pytest.approx(10 * paid, rel=0.02)
    assert found.calls == pytest.approx(10 * sum(row["n_calls"] for row in records(tmp_path)))
    assert found.unpriced == ()
    assert found.source == "pilot"
    told = table([found], 100.0)
    assert f"money: ${found.cost:,.2f} expected" in told
    assert f"time: {(found.input + found.output) / 100 / 3600:.1f} h at 100 tok/s" in told
    (other,) = asyncio.run(estimates_of(cells(*given, "sub.price=null"), known, "pilot"))
    assert other.cost is None
    assert 0 < other.priced < paid, "the root's part is known"


def test_an_unknown_price_says_what_to_do():
    own = ["task=s_niah", "method=long_context", "model@root=openai", "root.model=gpt-5"]
    told = table(told_of(*own, "n=3", "length=1k", "tokenizer=approx4"))
    assert "unknown" in told.splitlines()[1]
    assert "no list price for gpt-5 under key None (near: gpt-5" in told
    assert "set root.price=KEY" in told


def test_hours_are_told_where_the_harness_starts_the_model():
    readme = ["task=s_niah,oolong_gen", "method=rlm,rag,long_context", "length=4k,16k", "n=50"]
    told = table(told_of(*readme))
    (line,) = [line for line in told.splitlines() if line.startswith("time:")]
    hours = float(line.split()[1])
    assert 4 < hours < 12, line
    assert "two virtual cores" in line
    assert "none billed" in told
    assert "money:" not in told
    unmeasured = table(told_of("task=s_niah", "method=rag", "model@root=qwen2.5-coder-7b", "n=1"))
    assert "no measured speed of qwen2.5-coder-7b" in unmeasured
    assert "--tokens-per-second" in unmeasured
    billed = table(told_of("task=s_niah", "method=rag", "model@root=gpt-5", "n=1"))
    assert "time:" not in billed


def test_the_speed_of_an_earlier_run_counts_before_a_stated_one():
    frame = pd.read_parquet(ROOT / "results/published/length_sweep/records.parquet")
    given = ["task=s_niah", "method=rag", "length=4k", "n=20", "model@root=coder-0.5b-vllm"]
    assert " at 119 tok/s" in table(told_of(*given), None, frame)
    faster = frame.assign(wall_seconds=frame["wall_seconds"] / 10)
    assert " at 1193 tok/s" in table(told_of(*given), None, faster)


def test_reply_tokens_are_the_users_where_they_are_given():
    given = cells("task=s_niah", "method=long_context", "model@root=gpt-5", "n=2", "length=1k")
    (found,) = asyncio.run(estimates_of(given, reply_tokens=4000))
    assert found.output == 8000


def test_a_method_that_nobody_measured_is_rehearsed():
    (found,) = told_of("task=s_niah", "method=closed_book", "model@root=gpt-5", "n=2", "length=1k")
    assert found.source == "rehearsal"
    assert found.calls == 2


@pytest.mark.usefixtures("_no_network")
@pytest.mark.parametrize(
    "name", [pytest.param("rlm_paper_table1", marks=pytest.mark.slow), "rlm_paper_fig1"]
)
def test_the_estimate_of_a_suite_needs_no_hub(name, capsys):
    hub = [] if name == "rlm_paper_table1" else ["task=oolong,pairs"]
    assert suite([name, "--estimate", *hub, "method=rlm,base"]) == 0
    told = capsys.readouterr().out
    assert "not estimated" not in told
    assert "oolong_synth" in told


@pytest.mark.usefixtures("_no_network")
def test_the_command_tells_what_the_design_can_show(capsys):
    assert main(["task=oolong_gen", "method=rlm,rag", "n=20", *GPT]) == 0
    (line,) = [li for li in capsys.readouterr().out.splitlines() if li.startswith("design:")]
    assert "20 samples in 4 contexts" in line
    assert "no difference can be shown" in line
    assert "task.questions_per_window=1" in line


def test_any_model_in_the_slot_of_an_embedder_is_rehearsed_as_one(capsys):
    run = ["task=s_niah", "n=20", "length=4k", "tokenizer=approx4", "model@root=gpt-5"]
    assert main([*run, "method=rag_dense", "model@embed=scripted-embed"]) == 0
    told = capsys.readouterr().out
    assert "none billed" not in told
    assert "incomplete" not in told
    assert "money: $0." in told


def test_an_estimate_that_is_incomplete_does_not_pass_silently():
    cost = ExpectedCost(0.0, "about $0.00 expected", unpriced=False, incomplete=True)
    assert not cost.is_within(1000.0)
    assert cost.is_within(float("inf"))
