"""Money: dated list prices, and the cost of a call under them.

Prices are data (`data/prices.json`, refreshed by `scripts/refresh_prices.py`); a file named by
`RLM_EVAL_PRICES` has the same format and takes precedence. An unknown price is `None`, never 0.
Providers change their prices: a run's manifest keeps the entries it used.
"""

from __future__ import annotations

import datetime
import difflib
import hashlib
import json
import math
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields, replace
from functools import cache
from pathlib import Path
from typing import Any

from rlm_eval.core.amounts import known_sum
from rlm_eval.core.errors import ConfigError
from rlm_eval.core.types import Call, Usage

_FILE = Path(__file__).parent / "data" / "prices.json"
_MILLION = 1_000_000


@dataclass(frozen=True)
class Rates:
    """US dollars per million tokens."""

    input: float
    """Prompt tokens."""
    output: float
    """Completion tokens, reasoning included."""
    cached: float | None = None
    """Prompt tokens read from the cache; `None` = at the full rate."""
    reasoning: float | None = None
    """Reasoning tokens; `None` = at the rate of `output`."""


@dataclass(frozen=True)
class Price:
    """List price of one model at one provider."""

    key: str
    """Name in the table."""
    date: str
    """Day on which the price was read."""
    source: str
    """Page from which the price was read."""
    base: Rates
    """Rates of an ordinary call."""
    long: tuple[tuple[int, Rates], ...] = ()
    """(prompt tokens above which they apply, rates), ascending: they price the whole call."""
    batch: float | None = None
    """Price factor of the provider's batch interface; `None` = no such interface is known."""

    def rates(self, prompt_tokens: int) -> Rates:
        """Return the rates of a call with a prompt of this length, tokens."""
        return next((r for above, r in reversed(self.long) if prompt_tokens > above), self.base)


@dataclass(frozen=True)
class Cost:
    """US dollars of one call."""

    cold: float
    """Every prompt token at the full rate: comparable between labs."""
    observed: float | None
    """With the cache discount; `None` where cached tokens are unknown."""


def cost(usage: Usage, price: Price | None, *, batch: bool = False) -> Cost | None:
    """Return the cost of a call; `None` where price or usage is unknown.

    Raises `ConfigError` for a batch price of a provider that has none.
    """
    if price is None or usage.input is None or usage.output is None:
        return None
    if batch and price.batch is None:
        raise ConfigError(f"price {price.key}: no batch price is known; set batch=false")
    rates, factor = price.rates(usage.input), (price.batch or 1.0) if batch else 1.0
    thought = (usage.reasoning or 0) if rates.reasoning is not None else 0
    output = (usage.output - thought) * rates.output + thought * (rates.reasoning or 0.0)
    cold = factor * (usage.input * rates.input + output) / _MILLION
    if usage.cached is None and rates.cached is not None:
        return Cost(cold, None)
    full = rates.input
    saved = (usage.cached or 0) * (full - (full if rates.cached is None else rates.cached))
    return Cost(cold, cold - factor * saved / _MILLION)


def cold_cost(key: str | None) -> Callable[[Usage], float | None]:
    """Return the cold list price of a model's calls as a function of usage."""
    price = price_of(key)

    def of(usage: Usage) -> float | None:
        found = cost(usage, price)
        return None if found is None else found.cold

    return of


Bill = tuple[float | None, float | None]
"""(every prompt token at the full rate, with cache hits), US dollars; `None` = unknown."""


def call_cost(keys: Mapping[str, str | None]) -> Callable[[Call], Bill]:
    """Return the list price of a call, its billed failed attempts included.

    `keys` maps the run's model slots (`Call.slot`) to price keys.
    """
    prices = {slot: price_of(key) for slot, key in keys.items()}

    def of(call: Call) -> Bill:
        price = prices.get(call.slot)
        # Price each attempt separately: their sum may reach a tier that no single attempt reaches.
        attempts = [whole(usage) for usage in call.failed]
        if call.error is None or call.usage != Usage() or not attempts:
            attempts.append(call.usage if call.error is None else whole(call.usage))
        costs = [cost(usage, price) for usage in attempts]
        cold = known_sum(None if c is None else c.cold for c in costs)
        return cold, known_sum(None if c is None else c.observed for c in costs)

    return of


def whole(usage: Usage) -> Usage:
    """Fill in the usage of a failed attempt that reports only its prompt: its output was 0."""
    return usage if usage.output is not None else replace(usage, output=0)


def snapshot_name() -> str:
    """Return the price table's name for a footer: its hash and the days on which it was read."""
    prices = table()
    days = sorted({price.date for price in prices.values()})
    digest = hashlib.sha256(repr(sorted(prices.items())).encode()).hexdigest()[:8]
    return f"list prices {digest}, read {days[0]}" + (f" to {days[-1]}" if days[1:] else "")


def price_of(key: str | None) -> Price | None:
    """Return the price under `key`; `None` where none is known (`why_unknown` explains it)."""
    return None if key is None else table().get(key)


def why_unknown(name: str, key: str | None, slot: str = "root") -> str:
    """Return one line for a reader who misses the price of the model in `slot`."""
    near = difflib.get_close_matches(key or name, table(), 3)
    hint = f" (near: {', '.join(near)})" if near else ""
    return (
        f"no list price for {name} under key {key!r}{hint}: set {slot}.price=KEY, or name a file "
        "of your own prices in RLM_EVAL_PRICES (the form of rlm_eval/budget/data/prices.json)"
    )


def table() -> Mapping[str, Price]:
    """Return all prices, the user's first. Raises `ConfigError` for an invalid file."""
    own = os.environ.get("RLM_EVAL_PRICES")
    return {**_load(_FILE), **(_load(Path(own).expanduser()) if own else {})}


@cache
def _load(path: Path) -> dict[str, Price]:
    try:
        document = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"price file {path}: {error}") from error
    try:
        return {str(key): parse(str(key), row) for key, row in document["prices"].items()}
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ConfigError(f"price file {path}: {error}") from error


def parse(key: str, row: Mapping[str, Any]) -> Price:
    """Parse and validate one entry. Raises `ValueError` naming the entry and the field."""
    known = {"date", "source", "base", "long", "batch", "window", "origin"}
    if unknown := set(row) - known:
        raise ValueError(f"{key}: unknown fields {sorted(unknown)}; known: {sorted(known)}")
    for name in ("date", "source", "base"):
        if name not in row:
            raise ValueError(f"{key}: {name} is missing")
    datetime.date.fromisoformat(row["date"])
    long = tuple(
        (int(t["above"]), _rates(f"{key}.long", t, {"above"})) for t in row.get("long", ())
    )
    if [above for above, _ in long] != sorted({above for above, _ in long}):
        raise ValueError(f"{key}.long: the tiers must ascend")
    batch = row.get("batch")
    if batch is not None and not 0 < batch <= 1:
        raise ValueError(f"{key}.batch={batch}: a factor between 0 and 1")
    return Price(key, row["date"], row["source"], _rates(key, row["base"]), long, batch)


def _rates(place: str, row: Mapping[str, Any], also: Iterable[str] = ()) -> Rates:
    names = {f.name for f in fields(Rates)}
    if unknown := set(row) - names - set(also):
        raise ValueError(f"{place}: unknown rates {sorted(unknown)}; known: {sorted(names)}")
    for name in ("input", "output"):
        if row.get(name) is None:
            raise ValueError(f"{place}.{name} is missing")
    values: dict[str, Any] = {name: row.get(name) for name in names}
    for name, value in values.items():
        if value is not None and not (math.isfinite(value) and value >= 0):
            raise ValueError(f"{place}.{name}={value}: dollars per million tokens, at least 0")
    return Rates(**values)
