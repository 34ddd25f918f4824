"""What a sweep will cost, before anything is called: from a rehearsal, or from an earlier run."""

import asyncio

import pytest
from fake_server import FakeServer, rules
from runs import RULES, overrides, records, run_here

from rlm_eval.commands.estimate import estimate, table
from rlm_eval.results import write_records


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("RLM_EVAL_CACHE", str(tmp_path / "cache"))


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
    paid = sum(row["cost_cold"] for row in records(tmp_path))
    (found,) = estimate([*given, "n=40"], tmp_path / "test", 400)
    assert found.samples == 40
    assert found.cost == pytest.approx(10 * paid, rel=0.02)
    assert found.calls == 10 * sum(row["n_calls"] for row in records(tmp_path))
    assert found.unpriced == ()
    told = table([found], 100.0)
    assert f"money: ${found.cost:,.2f} expected" in told
    assert f"time: {(found.input + found.output) / 100 / 3600:.1f} h at 100 tok/s" in told
    (other,) = estimate([*given, "sub.price=null"], tmp_path / "test", 400)
    assert other.cost is None


def test_an_unknown_price_says_what_to_do():
    own = ["task=s_niah", "method=long_context", "model@root=openai", "root.model=gpt-5"]
    found = estimate([*own, "n=3", "length=1k", "tokenizer=approx4"], None, 400)
    told = table(found, None)
    assert "unknown" in told.splitlines()[1]
    assert "no list price for gpt-5 under key None (near: gpt-5" in told
    assert "set root.price=KEY" in told
