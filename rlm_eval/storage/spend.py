"""Spending of a cell so far, from its journal: calls, tokens, money at list price.

Counts every call that was ever sent, whether its trajectory was finished, redone or abandoned;
`records` counts per finished sample instead. Reported usage and estimates (lost replies, replies
without usage, calls in flight when a process died) are separate.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

from rlm_eval.budget.prices import call_cost, cold_cost, whole
from rlm_eval.core.types import Prompt, Usage
from rlm_eval.storage import server_usage
from rlm_eval.storage.cell_store import folder_of, read_manifest
from rlm_eval.storage.damage import damaged
from rlm_eval.storage.journal import FROM, estimate_of, stored_call
from rlm_eval.storage.jsonl import read_every


@dataclass(frozen=True)
class Spend:
    """Sums over calls."""

    calls: int = 0
    """Calls sent; a call and its retries are one."""
    tokens: int = 0
    """Input and output tokens that the provider reported."""
    cost: float = 0.0
    """US dollars of the calls that have a price, cache discounts ignored."""
    unpriced: int = 0
    """Calls, answered or in flight when a process died, whose price or usage is unknown."""
    stale: int = 0
    """Of these, calls of processes that had lost their lease: paid, and in no record."""
    estimated: int = 0
    """Attempts that reported no usage and may have been billed."""
    estimated_tokens: int = 0
    """Their tokens: prompt and output cap each; not in `tokens`."""
    estimated_cost: float = 0.0
    """Their US dollars at list price; not in `cost`."""

    def __add__(self, other: Spend) -> Spend:
        return Spend(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))

    @property
    def budgeted(self) -> dict[str, float]:
        """Amounts that count against a budget, by the names of `budget.limits.NAMES`: estimates
        included."""
        return {
            "tokens": self.tokens + self.estimated_tokens,
            "cost": self.cost + self.estimated_cost,
            "calls": self.calls,
        }

    def __str__(self) -> str:
        told = f"{self.calls:,} calls, {self.tokens:,} tokens"
        if self.stale:
            told += f" ({self.stale:,} calls of a process that had lost its lease are in no record)"
        if not self.calls:
            return "nothing"
        if self.unpriced and not self.cost:  # the others failed, and cost nothing that is known
            told = f"{told}, price unknown"
        else:
            more = f" and {self.unpriced:,} calls of unknown price" if self.unpriced else ""
            told = f"{told}, ${self.cost:.4f}{more}"
        if self.estimated:
            cost = "" if self.unpriced == self.calls else f", ${self.estimated_cost:.4f}"
            told += (
                f"; estimated besides: up to {self.estimated_tokens:,} tokens{cost} "
                f"of {self.estimated:,} requests without reported usage"
            )
        return told


def spent(folder: Path) -> Spend:
    """Return the spending of one cell's (or shard's) directory; zero where it was never started."""
    if not (folder / "manifest.json").exists():
        return Spend()
    keys = read_manifest(folder)["prices"]
    bill = call_cost(keys)
    calls = tokens = unpriced = stale = 0
    cost = 0.0
    pending: dict[tuple[str, int, int], Mapping[str, Any]] = {}  # sent and not settled
    estimates: list[tuple[str, Usage, int]] = []  # (slot, of one attempt, attempts)
    seen: set[tuple[str, int, int, int, int]] = set()  # a log may be joined with itself
    with damaged(folder / "journal.jsonl"):
        for _, line, is_rightful in read_every(folder / "journal.jsonl"):
            if line is None or line.get("k") not in ("sent", "call") or FROM in line:
                continue
            who = (line.get("w", ""), line["t"], line["id"])  # two writers may use the same numbers
            pending.pop(who, None)
            if line["k"] == "sent":
                if line["n"]:
                    pending[who] = line
                continue
            # Another reply under the same numbers is no copy: it was paid for, too.
            same = (*who, line["c"], hash(line.get("reply")))
            if same in seen:
                continue
            seen.add(same)
            stale += not is_rightful
            call = stored_call(line, line, Prompt(()))
            calls += 1
            tokens += (call.usage.total or 0) + (call.failed_usage.total or 0)
            price = bill(call)[0]
            cost += price or 0.0
            unpriced += price is None and (call.error is None or call.usage.input is not None)
            if call.estimated_attempts:
                estimates.append((call.slot, call.estimate, call.estimated_attempts))
    calls += len(pending)
    estimates += [(line["slot"], estimate_of(line), line["n"]) for line in pending.values()]
    of = {slot: cold_cost(keys.get(slot)) for slot, _, _ in estimates}
    unpriced += sum(of[line["slot"]](whole(estimate_of(line))) is None for line in pending.values())
    return Spend(
        calls,
        tokens,
        cost,
        unpriced,
        stale,
        sum(times for _, _, times in estimates),
        sum(times * (each.total or 0) for _, each, times in estimates),
        sum(times * (of[slot](whole(each)) or 0.0) for slot, each, times in estimates),
    )


def total(folders: Iterable[Path]) -> Spend:
    """Return the total of several directories."""
    return sum(map(spent, folders), Spend())


def total_of_run(run: Path, names: Collection[str]) -> Spend:
    """Return the total of the planned cells and shards; calls that a merge took over count once."""
    found = Spend()
    for cell in dict.fromkeys(name.partition("/")[0] for name in names):
        shards = total(folder_of(run, n) for n in names if n.startswith(f"{cell}/"))
        own = spent(folder_of(run, cell)) if cell in names else Spend()
        is_merged = (folder_of(run, cell) / "merged.json").exists()
        # Only one of them continues: a merge replaces an unchanged cell and refuses a newer one.
        found += max(shards, own, key=lambda s: s.calls) if is_merged else shards + own
    return found


def first_requests(run: Path) -> Spend:
    """Return the spending of the run's preflight requests: they belong to no sample and no cell."""
    calls = tokens = unpriced = 0
    cost = 0.0
    for _, key, usage in server_usage.checks(run):
        price = cold_cost(key)(usage)
        calls += 1
        tokens += usage.total or 0
        cost += price or 0.0
        unpriced += price is None
    return Spend(calls, tokens, cost, unpriced)
