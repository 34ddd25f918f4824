"""Money: shipped prices are well-formed, tiers and discounts applied, the unknown unknown."""

import json
from itertools import pairwise

import pytest

from rlm_eval.budget.prices import (
    Price,
    Rates,
    call_cost,
    cold_cost,
    cost,
    parse,
    price_of,
    table,
    why_unknown,
)
from rlm_eval.core.errors import ConfigError
from rlm_eval.core.types import Call, Prompt, Role, Times, Usage

TIERED = Price(
    "t", "2026-11-21", "here", Rates(2, 10, cached=0.5, reasoning=4),
    ((1000, Rates(4, 20, cached=1)),), batch=0.5,
)  # fmt: skip
ROW = {"date": "2026-11-21", "source": "https://x", "base": {"input": 1, "output": 2}}


def test_every_shipped_price_is_dated_and_makes_sense():
    for key, price in table().items():
        assert price.key == key
        assert price.source.startswith(("https://", "table of"))
        tiers = [price.base, *(rates for _, rates in price.long)]
        assert all(0 < r.input <= r.output for r in tiers)
        assert all(r.cached is None or 0 <= r.cached < r.input for r in tiers)
        assert all(a.input <= b.input for a, b in pairwise(tiers))


def test_cold_pays_every_prompt_token_and_observed_the_cache():
    found = cost(Usage(input=1000, cached=400, output=100), TIERED)
    assert found.cold == pytest.approx((1000 * 2 + 100 * 10) / 1e6)
    assert found.observed == pytest.approx((600 * 2 + 400 * 0.5 + 100 * 10) / 1e6)


def test_a_long_prompt_is_priced_whole_at_the_tier():
    found = cost(Usage(input=1001, cached=1, output=10), TIERED)
    assert found.cold == pytest.approx((1001 * 4 + 10 * 20) / 1e6)
    assert found.observed == pytest.approx((1000 * 4 + 1 * 1 + 10 * 20) / 1e6)


def test_reasoning_and_batch_rates():
    usage = Usage(input=100, cached=0, output=50, reasoning=20)
    assert cost(usage, TIERED).cold == pytest.approx((100 * 2 + 30 * 10 + 20 * 4) / 1e6)
    assert cost(usage, TIERED, batch=True).cold == pytest.approx(cost(usage, TIERED).cold / 2)
    with pytest.raises(ConfigError, match="no batch price"):
        cost(usage, Price("t", "d", "s", Rates(1, 1)), batch=True)


def test_unknown_is_none_and_never_zero():
    assert cost(Usage(1, 0, 1), None) is None
    assert cost(Usage(None, None, 1), TIERED) is None
    assert cost(Usage(1, None, None), TIERED) is None
    assert cost(Usage(100, None, 1), TIERED).observed is None
    assert price_of(None) is None
    assert price_of("no-such") is None
    assert cold_cost("no-such")(Usage(1, 0, 1)) is None
    assert "near: gpt-5" in why_unknown("mine", "gpt5")
    assert "RLM_EVAL_PRICES" in why_unknown("mine", None)


def test_a_call_pays_its_failed_attempts_and_its_slots_price():
    call = Call(
        id=0, parent=None, depth=0, role=Role.ROOT, turn=0, position="t0", slot="root",
        model="m-dated", prompt=Prompt(()), reply="", reasoning="", finish_reason="stop",
        usage=Usage(1000, 0, 100), failed=(Usage(1000, 0, None),), attempts=2,
        times=Times(submit=0, start=0, first_token=None, end=1),
    )  # fmt: skip
    cold, observed = call_cost({"root": "gpt-5", "sub": None})(call)
    rates = price_of("gpt-5").base
    assert cold == observed == pytest.approx((2000 * rates.input + 100 * rates.output) / 1e6)
    assert call_cost({"root": None})(call) == (None, None)


def test_the_users_own_prices_win(tmp_path, monkeypatch):
    file = tmp_path / "prices.json"
    file.write_text(json.dumps({"prices": {"gpt-5": ROW, "mine": ROW}}))
    monkeypatch.setenv("RLM_EVAL_PRICES", str(file))
    assert price_of("gpt-5").base == price_of("mine").base == Rates(1, 2)
    assert price_of("gpt-4o") is not None
    monkeypatch.setenv("RLM_EVAL_PRICES", str(tmp_path / "absent.json"))
    with pytest.raises(ConfigError, match="absent.json"):
        table()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"base": {"input": 1}}, "k.output is missing"),
        ({"base": {"input": -1, "output": 1}}, "k.input=-1"),
        ({"base": {"input": 1, "output": 1, "outptu": 1}}, "unknown rates"),
        ({"date": "yesterday"}, "Invalid isoformat"),
        ({"currency": "EUR"}, "unknown fields"),
        ({"batch": 2}, "between 0 and 1"),
        ({"long": [{"above": 9, "input": 1, "output": 1}, {"above": 3, "input": 1, "output": 1}]},
         "must ascend"),
    ],
)  # fmt: skip
def test_a_malformed_entry_is_named(change, words):
    with pytest.raises(ValueError, match=words):
        parse("k", {**ROW, **change})
