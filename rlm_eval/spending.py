"""What a cell has paid for so far, from its journal: calls, tokens, money at list price.

Counts every call that was ever sent, whether its trajectory was finished, redone or abandoned;
`records` counts per finished sample instead.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

from rlm_eval import accounts
from rlm_eval.journal import stored_call
from rlm_eval.log import read_every
from rlm_eval.prices import call_cost, cold_cost
from rlm_eval.store import folder_of, read_manifest
from rlm_eval.types import Prompt, Usage


@dataclass(frozen=True)
class Spending:
    """Sums over calls."""

    calls: int = 0
    """Calls sent."""
    tokens: int = 0
    """Input and output tokens, as far as they were told."""
    cost: float = 0.0
    """US dollars of the calls that have a price, cache discounts ignored."""
    unpriced: int = 0
    """Answered calls whose price or usage is unknown."""
    stale: int = 0
    """Calls, of these, of processes that had lost their lease: paid, and in no record."""

    def __add__(self, other: Spending) -> Spending:
        return Spending(
            self.calls + other.calls,
            self.tokens + other.tokens,
            self.cost + other.cost,
            self.unpriced + other.unpriced,
            self.stale + other.stale,
        )

    def __str__(self) -> str:
        told = f"{self.calls:,} calls, {self.tokens:,} tokens"
        if self.stale:
            told += f" ({self.stale:,} calls of a process that had lost its lease are in no record)"
        if not self.calls:
            return "nothing"
        if self.unpriced and not self.cost:  # the rest failed, and cost nothing that is known
            return f"{told}, price unknown"
        more = f" and {self.unpriced:,} calls of unknown price" if self.unpriced else ""
        return f"{told}, ${self.cost:.4f}{more}"


def spent(folder: Path) -> Spending:
    """Of one cell's (or shard's) directory; nothing where it was never started."""
    if not (folder / "manifest.json").exists():
        return Spending()
    bill = call_cost(read_manifest(folder)["prices"])
    calls = tokens = unpriced = stale = 0
    cost = 0.0
    for _, line, is_rightful in read_every(folder / "journal.jsonl"):
        if line is None or line["k"] != "call":
            continue
        stale += not is_rightful
        call = stored_call(line, line, Prompt(()))
        calls += 1
        tokens += _tokens(call.usage) + _tokens(call.failed_usage)
        price = bill(call)[0]
        cost += price or 0.0
        unpriced += price is None and (call.error is None or call.usage.input is not None)
    return Spending(calls, tokens, cost, unpriced, stale)


def total(folders: Iterable[Path]) -> Spending:
    """Of several."""
    return sum(map(spent, folders), Spending())


def total_of_run(run: Path, names: Collection[str]) -> Spending:
    """Of the planned cells and shards; what a merged cell took over from its shards counts once."""
    found = Spending()
    for cell in dict.fromkeys(name.partition("/")[0] for name in names):
        shards = total(folder_of(run, n) for n in names if n.startswith(f"{cell}/"))
        whole = spent(folder_of(run, cell)) if cell in names else Spending()
        is_merged = (folder_of(run, cell) / "merged.json").exists()
        # Only one of them goes on: a merge refuses a cell that did, and replaces one that did not.
        found += max(shards, whole, key=lambda s: s.calls) if is_merged else shards + whole
    return found


def first_requests(run: Path) -> Spending:
    """Of the requests that proved the run's endpoints: they belong to no sample and no cell."""
    calls = tokens = unpriced = 0
    cost = 0.0
    for _, key, usage in accounts.checks(run):
        price = cold_cost(key)(usage)
        calls += 1
        tokens += _tokens(usage)
        cost += price or 0.0
        unpriced += price is None
    return Spending(calls, tokens, cost, unpriced)


def _tokens(usage: Usage) -> int:
    return (usage.input or 0) + (usage.output or 0)
