"""Money so far, from the journals: of every call that was sent, redone and abandoned ones too."""

import orjson
import pytest
from fake_server import FakeServer, Fault, every, rules, text_of, tokens_of
from runs import RULES, cell_folder, overrides, records, run_here

from rlm_eval.budget.prices import table
from rlm_eval.commands.status import main as status
from rlm_eval.storage.spend import Spend, spent

PRICE = sorted(table())[0]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("RLM_EVAL_CACHE", str(tmp_path / "cache"))


async def test_money_so_far_is_that_of_every_call_sent(tmp_path, capsys):
    async with FakeServer(reply=rules(RULES)) as server:
        given = overrides(tmp_path, server.url, f"root.price={PRICE}", "n=2", "root.retries=0")
        server.faults = every(9, Fault("status", 503))
        await run_here(given)
        server.faults = None
        assert not (await run_here(given)).unfinished
        served = server.total
    told = spent(cell_folder(tmp_path))
    sent = [e["request"] for e in server.log]
    last = "Reply with the word"
    preflight = [text_of(r) for r in sent if r["messages"][-1]["content"].startswith(last)]
    assert told.calls == served["requests"] - len(preflight)
    outside = sum(tokens_of(text) + tokens_of("none") for text in preflight)
    assert told.tokens == served["prompt_tokens"] + served["completion_tokens"] - outside
    assert told.unpriced == 0
    # A sample ends where a sub-call fails for good; redone, it takes all that was answered.
    assert told.cost == pytest.approx(sum(r["cost_cold"] for r in records(tmp_path)))
    assert told.cost > 0
    assert status([str(tmp_path / "test")]) == 0
    assert f"spent: {told}" in capsys.readouterr().out
    assert f"${told.cost:.4f}" in str(told)


async def test_an_unknown_price_is_not_nothing(tmp_path):
    async with FakeServer(reply=rules(RULES)) as server:
        await run_here(overrides(tmp_path, server.url, "n=1"))
    told = spent(cell_folder(tmp_path))
    assert told.unpriced == told.calls == 11
    assert str(told).endswith("price unknown")
    assert str(told + Spend(1, 10, 0.5)).endswith("$0.5000 and 11 calls of unknown price")


async def test_a_late_writers_call_in_flight_is_not_settled_by_another_one(tmp_path):
    """Two writers may number alike: what one sent, the other's reply does not answer."""
    async with FakeServer(reply=rules(RULES)) as server:
        await run_here(overrides(tmp_path, server.url, "method=long_context", "n=1"))
    folder = cell_folder(tmp_path)
    before = spent(folder)
    path = folder / "journal.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    (sent,) = (line for line in lines if b'"k":"sent"' in line)
    late = orjson.dumps(orjson.loads(sent) | {"w": "1.0bad"}) + b"\n"
    at = lines.index(sent) + 1
    path.write_bytes(b"".join([*lines[:at], late, *lines[at:]]))
    now = spent(folder)
    assert (now.calls, now.estimated) == (before.calls + 1, before.estimated + 1)
    assert now.estimated_tokens > before.estimated_tokens
    # Its price is unknown as well, and not $0.
    told = f"2 calls, {now.tokens:,} tokens, price unknown; estimated besides: up to "
    assert str(now) == f"{told}{now.estimated_tokens:,} tokens of 1 requests without reported usage"
