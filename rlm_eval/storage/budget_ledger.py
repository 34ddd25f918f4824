"""A sweep's budget shared by all processes of a run directory: two `run`s, shards, jobs, launchers.

`<run>/budget.ledger` holds what was spent before the present processes began, and what each of them
has claimed since. A process claims room in portions, before it spends, and returns the rest at its
end; it never sends a call that its claim does not cover. The file is read and written in place
under its own lock (`flock`): on network file systems, taking that lock makes one machine see the
other's writes. `docs/cluster.md` lists where such locks work. A budget belongs to the run
directory: everything its cells have spent counts.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import secrets
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import orjson

from rlm_eval.budget.limits import NAMES, Limits
from rlm_eval.core.errors import NoStorage, RlmEvalError
from rlm_eval.storage import plan
from rlm_eval.storage.cell_folders import all_started, copies_of
from rlm_eval.storage.cell_store import folder_of
from rlm_eval.storage.lease import STALE_SECONDS, holder_of
from rlm_eval.storage.lease_holder import Holder
from rlm_eval.storage.spend import first_requests, total_of_run

FILE = "budget.ledger"
_PATIENCE_S = 60.0
_SLOT = 1 << 17  # bytes; two slots are written in turn, so that a kill leaves the older one whole
_PORTIONS = 8  # a claim is an eighth of a process's share of the free amount, or the amount needed

Amounts = dict[str, float]
"""By the names of `budget.limits.NAMES`."""


def _nothing() -> Amounts:
    return dict.fromkeys(NAMES, 0)


@dataclass
class Claim:
    """The amount that one process may spend."""

    holder: Holder
    """The process."""
    at: float
    """Time of its last write here, by the clock of the file system."""
    most: Amounts = field(default_factory=_nothing)
    """The most that it may have spent since it began."""

    def is_live(self, now: float) -> bool:
        """Return whether the process still runs, as far as this process can determine."""
        alive = self.holder.is_alive_here()
        return now - self.at <= STALE_SECONDS if alive is None else alive

    def __str__(self) -> str:
        return f"process {self.holder.pid} on {self.holder.host}"


@dataclass
class Book:
    """The content of the ledger file."""

    limits: dict[str, float | None] = field(default_factory=dict)
    """The budget as the last process set it."""
    base: Amounts = field(default_factory=_nothing)
    """Amounts spent before the present claims."""
    claims: dict[str, Claim] = field(default_factory=dict)
    """Claims by a random token."""
    number: int = 0
    """Number of the write; the higher one of the two slots counts."""

    def taken(self, name: str, but: str = "") -> float:
        """Return the amount spent before plus the claims of all processes except `but`."""
        return self.base[name] + sum(c.most[name] for t, c in self.claims.items() if t != but)

    @classmethod
    def parsed(cls, slot: bytes) -> Book | None:
        """Parse a slot of the file; `None` where it is empty or half-written."""
        digest, _, data = slot.partition(b"\n")[0].partition(b" ")
        if digest != _digest(data):
            return None
        told = orjson.loads(data)
        claims = {
            token: Claim(Holder(**claim["holder"]), claim["at"], claim["most"])
            for token, claim in told["claims"].items()
        }
        return cls(told["limits"], told["base"], claims, told["number"])


class Ledger:
    """One process's claim in the run's ledger."""

    def __init__(self, run: Path, limits: Limits) -> None:
        """`limits` is the sweep's budget as this process was configured."""
        self.limits = limits
        self._run = run
        self._path = run / FILE
        self._token = secrets.token_hex(6)
        self._before = _nothing()  # the part of this process's spending that `base` includes
        self.others = _nothing()
        """At the last read: spent before, and claimed by other processes."""

    def limit(self, name: str) -> float | None:
        """Return a limit of the sweep."""
        found: float | None = getattr(self.limits, name)
        return found

    def open(self) -> None:
        """Open a claim. Raises `RlmEvalError` if a live process limits other quantities.

        If no process with a claim is alive, the amount spent is read from the journals.
        """
        with _locked(self._path, create=True) as (file, now):
            book = _read(file)
            live = [claim for claim in book.claims.values() if claim.is_live(now)]
            limits = {name: self.limit(name) for name in NAMES}
            if live and _limited(book.limits) != _limited(limits):
                raise RlmEvalError(
                    f"budget: {live[0]} limits {', '.join(_limited(book.limits))} of this run "
                    f"directory, this command {', '.join(_limited(limits))}: give both the same"
                )
            if not live:
                self._begin(book)
            book.limits = limits
            book.claims[self._token] = Claim(Holder.me(), now)
            self._look(book)
            _write(file, book)

    def _begin(self, book: Book) -> None:
        """Initialise the spent amounts from the journals: no process with a claim is alive."""
        for name in planned(self._run):
            if (other := holder_of(folder_of(self._run, name))) is not None:
                raise RlmEvalError(
                    f"budget: process {other.pid} on {other.host} is running {name} without "
                    "this budget: wait for it, or stop it and give it the same budget"
                )
        book.base, book.claims = spent_by(self._run), {}

    def claim(self, own: Amounts, needed: Amounts) -> Amounts | None:
        """Return the total that this process may spend, at least `needed`; `None` if too much.

        `own` is what it spent and reserved so far. Raises `RlmEvalError` where the ledger is gone.
        """
        with _locked(self._path) as (file, now):
            book = _read(file)
            mine = book.claims.get(self._token)
            if mine is None:  # it was considered dead (suspended), and its journals were counted
                self._before = dict(own)
                mine = Claim(Holder.me(), now)
            live = sum(claim.is_live(now) for claim in book.claims.values()) or 1
            most = dict(mine.most)
            for name in NAMES:
                limit = self.limit(name)
                short = needed[name] - self._before[name] - most[name]
                if limit is None:
                    most[name] = max(most[name], needed[name] - self._before[name])
                elif short > 0:
                    free = limit - book.taken(name)
                    if short > free + 1e-12 * limit:
                        self._look(book)
                        return None
                    portion = free / (_PORTIONS * live)
                    most[name] += max(short, portion if name == "cost" else int(portion))
            mine.most, mine.at = most, now
            book.claims[self._token] = mine
            self._look(book)
            _write(file, book)
        return {name: most[name] + self._before[name] for name in NAMES}

    def renew(self) -> None:
        """Record that the process is alive."""
        with _locked(self._path) as (file, now):
            book = _read(file)
            if (mine := book.claims.get(self._token)) is not None:
                mine.at = now
                _write(file, book)

    def close(self, spent: Amounts) -> None:
        """Return the unspent part of the claim."""
        with _locked(self._path) as (file, _):
            book = _read(file)
            if book.claims.pop(self._token, None) is not None:
                for name in NAMES:
                    book.base[name] += spent[name] - self._before[name]
            _write(file, book)

    def _look(self, book: Book) -> None:
        self.others = {name: book.taken(name, self._token) for name in NAMES}


def planned(run: Path) -> list[str]:
    """Return the cells and shards of a run that were planned or started.

    A started cell always counts; a merged one is found by its shards, and a copy is no cell.
    """
    names = plan.planned(run)
    copies = copies_of(all_started(run))
    files = sorted(path for n in ("lease", "manifest") for path in run.glob(f"cells/*/{n}.json"))
    started = dict.fromkeys(path.parent.name for path in files if path.parent not in copies)
    shards = {name.partition("/")[0] for name in names if "/" in name}
    return [*names, *(name for name in started if name not in (*names, *shards))]


def spent_by(run: Path) -> Amounts:
    """Return what counts against the budget of a run, from its journals and endpoint files."""
    proofs = first_requests(run)  # calls outside cells
    return (total_of_run(run, planned(run)) + replace(proofs, calls=0)).budgeted


def check_no_budget(run: Path) -> None:
    """Raise `RlmEvalError` where living processes share a budget that does not include this one."""
    if live := _live(_peek(run)):
        raise RlmEvalError(
            f"budget: {live[0]} runs with a budget for {run}: give this command the same one "
            "(budget.tokens, budget.cost, budget.calls) or another name=, or wait for it"
        )


def balance(run: Path, limits: Limits | None = None) -> str | None:
    """Describe the state of the run's budget; `None` where it has none.

    `limits` replaces the budget that the last process set.
    """
    book = _peek(run)
    live = len(_live(book))
    spent, told = spent_by(run), []
    for name in NAMES:
        limit = getattr(limits, name) if limits is not None else book.limits.get(name)
        if limit is not None:
            # The process of a claim may have spent a part of it, already counted in the journals.
            held = max(0, book.taken(name) - spent[name]) if live else 0
            numbers = [limit, spent[name], held, max(0, limit - spent[name] - held)]
            whole, paid, claimed, free = (
                f"${n:,.2f}" if name == "cost" else f"{n:,.0f}" for n in numbers
            )
            told.append(
                f"{name} {whole}: {paid} spent, {claimed} held by {live} processes, {free} free"
            )
    return "; ".join(told) or None


def check_left(run: Path, limits: Limits) -> None:
    """Raise `RlmEvalError` where nothing of the budget is left."""
    spent = spent_by(run)
    for name in NAMES:
        limit = getattr(limits, name)
        if limit is not None and spent[name] >= limit:
            raise RlmEvalError(f"budget: spent ({balance(run, limits)}): raise budget.{name}")


def _limited(limits: Mapping[str, float | None]) -> list[str]:
    return [name for name in NAMES if limits.get(name) is not None]


def _live(book: Book) -> list[Claim]:
    return [claim for claim in book.claims.values() if claim.is_live(time.time())]


def _peek(run: Path) -> Book:
    """Read the ledger without a lock, for readers that may not write."""
    try:
        file = os.open(run / FILE, os.O_RDONLY)
    except FileNotFoundError:
        return Book()
    try:
        return _read(file)
    finally:
        os.close(file)


@contextmanager
def _locked(path: Path, *, create: bool = False) -> Iterator[tuple[int, float]]:
    """Yield (the open file, the file system's time), while no other process has it."""
    try:
        file = os.open(path, os.O_RDWR | (os.O_CREAT if create else 0), 0o644)
    except FileNotFoundError as error:
        raise NoStorage(f"{path}: missing; the run directory was deleted or moved") from error
    try:
        end = time.monotonic() + _PATIENCE_S
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError as error:
                if error.errno not in (errno.EWOULDBLOCK, errno.EACCES, errno.EINTR):
                    raise RlmEvalError(
                        f"{path}: this file system has no file locks ({error.strerror}), and a "
                        "budget needs them: name another with results=, or limit each cell with "
                        "cell_budget instead of budget"
                    ) from error
                if time.monotonic() > end:
                    raise RlmEvalError(
                        f"{path}: locked by another process for {_PATIENCE_S:.0f} s; try again"
                    ) from error
                time.sleep(0.01)
        os.utime(file)
        yield file, os.fstat(file).st_mtime
    finally:
        os.close(file)  # this releases the lock


def _read(file: int) -> Book:
    found = [Book.parsed(os.pread(file, _SLOT, start)) for start in (0, _SLOT)]
    return max((book for book in found if book), key=lambda book: book.number, default=Book())


def _write(file: int, book: Book) -> None:
    book.number += 1
    data = orjson.dumps(asdict(book))
    if len(data) > _SLOT - 100:
        raise RlmEvalError("budget: too many processes share it")
    os.pwrite(file, _digest(data) + b" " + data + b"\n", book.number % 2 * _SLOT)
    os.fsync(file)


def _digest(data: bytes) -> bytes:
    return hashlib.sha256(data).hexdigest()[:16].encode()
