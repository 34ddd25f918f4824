"""The contracts between the rooms: what a task, a method, a model and a REPL must offer.

A plug-in is a frozen dataclass with these members; it needs no base class. `missing` finds what a
class lacks when a cell is built, before anything is called.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol, runtime_checkable

from rlm_eval.core.blocks import JSON, BlockResult, HostFunction, Value
from rlm_eval.core.endpoints import EndpointInfo, Sampling, ServerUsage
from rlm_eval.core.errors import ModelError
from rlm_eval.core.types import Answer, Call, Density, Message, Reply, Role, Sample, Score, Step

Floor = Callable[[Sample], str]
"""An answer function that needs no model (`floors()`)."""


class Task(Protocol):
    """A benchmark's configuration: a frozen dataclass, one YAML in `configs/task/`."""

    @property
    def name(self) -> str:
        """Name in tables. Generated data never carries a real benchmark's name."""
        ...

    @property
    def density(self) -> Density:
        """How much of the context must be processed as it grows."""
        ...

    @property
    def generated(self) -> bool:
        """True where the data come from our own generator; every table and figure says so."""
        ...

    @property
    def protected(self) -> bool:
        """True where the text must not leave the run directory (reports, exports)."""
        ...

    def samples(self) -> Iterator[Sample]:
        """The samples of the cell, in a fixed order; the same configuration gives the same ones."""
        ...

    def score(self, sample: Sample, answer: Answer) -> tuple[Score, ...]:
        """Every scorer's verdict, the headline first. `answer.text` may be `None` (no answer)."""
        ...

    def gold_answer(self, sample: Sample) -> Answer:
        """The gold in the form a perfect method would give it: scores 1 (the `oracle` method)."""
        ...

    def floors(self) -> Mapping[str, Floor]:
        """Answer functions that need no model, by name; the score a method has to beat."""
        ...


@runtime_checkable
class JudgedTask(Protocol):
    """A task whose headline score comes from a judge model: the runner makes the call."""

    def judge_prompt(self, sample: Sample, answer: Answer) -> str | None:
        """What the judge is asked; `None` where no judgement is needed (no answer)."""
        ...

    def judge_score(self, sample: Sample, answer: Answer, verdict: str) -> Score:
        """Reads the judge's reply. Raises `ValueError` where it cannot be parsed."""
        ...


class Method(Protocol):
    """A method's configuration: a frozen dataclass, one YAML in `configs/method/`.

    A class that sets `writes_plain_text` (what it starts keeps files of its own) gets no protected
    task. One whose root sends more than a user turn names the roles in `history`: the preflight
    tries them.
    """

    @property
    def name(self) -> str:
        """Name in tables, variant included (`rlm`, `rag_dense`)."""
        ...

    @property
    def prompt_id(self) -> str:
        """Name and hash of the prompts it uses (`own@3f2a91bc`); `-` where it has none."""
        ...

    @property
    def runs_code(self) -> bool:
        """True where code runs in a REPL: only then is a sandbox started and required."""
        ...

    @property
    def slots(self) -> tuple[str, ...]:
        """The models that it calls (`root`, `sub`, ...): others are neither opened nor recorded."""
        ...

    async def solve(self, sample: Sample, session: Session) -> Answer:
        """Answer `sample.question` over `sample.context`; every call goes through `session`.

        Must not read `sample.target` (only the `floor` method does). Raises what the session
        raises; the runner maps errors to outcomes.
        """
        ...


class Model(Protocol):
    """A model's configuration: a frozen dataclass, one YAML in `configs/model/`."""

    @property
    def name(self) -> str:
        """Name in tables and requests."""
        ...

    @property
    def window(self) -> int | None:
        """Context window in tokens, prompt and reply together; `None` = unknown."""
        ...

    @property
    def price(self) -> str | None:
        """Key into the price table; `None` = no price known."""
        ...

    @property
    def sampling(self) -> Sampling:
        """Defaults of this model."""
        ...

    def open(self) -> AbstractAsyncContextManager[Client]:
        """Start or attach to the server and hand over a client; leaving stops what was started."""
        ...


class Client(Protocol):
    """An opened model."""

    async def complete(self, messages: Sequence[Message], sampling: Sampling) -> Reply:
        """One chat completion, retries included.

        Raises a subclass of `core.errors.ModelError` where it failed for good. One that may have
        sent something raises `core.errors.CallCancelled` where it is cancelled.
        """
        ...

    async def check(self) -> EndpointInfo:
        """One cheap request that proves key, model name and chat template.

        Raises a subclass of `core.errors.ModelError` whose message says what to change. A client
        that also has `prove(history)` is asked that instead, with the roles of the turns to come.
        """
        ...

    async def account(self) -> ServerUsage | None:
        """What its server did so far; `None` where there is nothing to tell. Never raises."""
        ...


class Session(Protocol):
    """One sample's way to the models, as a method sees it: every call and every REPL is counted."""

    calls: list[Call]
    """Finished calls of this sample so far, failed ones included."""
    partial: Answer | None
    """The answer that counts where a limit ends the trajectory; set by `offer`."""
    shows_failures: bool
    """Set by a method whose protocol hands failed calls to the model by design."""
    keeps_raw: bool
    """Set by a method that reads thoughts which a server left in its replies."""

    @property
    def slots(self) -> tuple[str, ...]:
        """The models of this run: those that the method named, and `judge` where there is one."""
        ...

    def model_of(self, slot: str) -> str:
        """Configured name of the model in `slot`. Raises `ConfigError` where the run has none."""
        ...

    def window_of(self, slot: str) -> int | None:
        """Window of the model in `slot` in tokens; `None` = unknown."""
        ...

    def reply_cap_of(self, slot: str) -> int:
        """Most tokens of a reply of the model in `slot`; 0 = no cap."""
        ...

    def counter_of(self, slot: str) -> str:
        """Who counts the tokens of the model in `slot`: `server`, or a tokenizer's name."""
        ...

    def prefixes_of(self, slot: str) -> tuple[str, str]:
        """Texts that the embedder in `slot` wants before a question and before a passage."""
        ...

    async def count_tokens(self, messages: Sequence[Message], model: str = "root") -> int | None:
        """Tokens of a prompt under the model's own tokenizer; `None` = unknown. No call is made.

        Raises `ProviderError` where the server that counts does not answer.
        """
        ...

    async def call(
        self,
        messages: Sequence[Message],
        *,
        role: Role,
        position: str,
        model: str = "root",
        depth: int = 0,
        turn: int = 0,
        parent: int | None = None,
        sampling: Sampling | None = None,
        closing: bool = False,
    ) -> Call:
        """Ask the model in a slot and return the finished call.

        `position` is the deterministic path of the place that asks; equal requests at one position
        are told apart by their order. A `closing` call is allowed beyond a limit of the sample,
        not beyond a budget. Raises `ModelError` (the failed call is kept) or `LimitReached`
        (nothing was sent).
        """
        ...

    def open_repl(
        self, context: Any, functions: Mapping[str, HostFunction], **options: Any
    ) -> AbstractAsyncContextManager[Repl]:
        """A REPL seeded by the sample; only for a method with `runs_code`.

        `options` as those of `repl.ReplPool.open`.
        """
        ...

    def add_step(self, step: Step) -> None:
        """Keep an executed block in the trajectory."""
        ...

    def note(self, key: str, value: Any) -> None:
        """Keep a scalar in the trajectory's notes."""
        ...

    def offer(self, answer: Answer) -> None:
        """Set the best answer so far, for a limit that ends the trajectory."""
        ...

    def outage(self) -> ModelError | None:
        """The provider's failure that nothing repaired; `None` where there is none."""
        ...


class Repl(Protocol):
    """One live REPL. Not for concurrent use: one operation at a time."""

    async def run(self, code: str) -> BlockResult:
        """Run a block in the persistent namespace.

        Raises `core.errors.ReplCrash` where the worker was lost and its state could not be
        restored, and whatever a host function raised other than `ReplCallError`.
        """
        ...

    async def get(self, name: str) -> Value | None:
        """The variable, or `None` where there is none. Raises `ReplValueError`, `ReplCrash`."""
        ...

    async def set(self, name: str, value: JSON) -> None:
        """Bind a variable. Raises `ReplCrash`."""
        ...


_OPTIONAL = {"gold_answer"}
"""Only the method `floor` reads it; a task without golds (your own files) lacks it."""


def missing(plug_in: object, protocol: type) -> list[str]:
    """One line for each member of `protocol` that `plug_in` lacks, with the member's contract.

    Nothing of the plug-in is run. Members of the wrong kind (`solve` that is no `async def`, a
    plain attribute in place of a method) are lines as well.
    """
    cls = type(plug_in)
    name = f"{cls.__module__}.{cls.__qualname__}"
    lines = []
    for member, contract in protocol.__dict__.items():
        if member.startswith("_") or not (callable(contract) or isinstance(contract, property)):
            continue
        found = inspect.getattr_static(plug_in, member, None)
        if found is None and not hasattr(plug_in, member):
            if member not in _OPTIONAL:
                lines.append(f"{name} lacks `{member}`: {_first_clause(contract)}")
        elif isinstance(contract, property):
            if inspect.isfunction(found):
                lines.append(f"{name}.{member} is a method; make it a field or a `@property`")
        elif isinstance(found, property) or not callable(getattr(plug_in, member)):
            lines.append(f"{name}.{member} must be a method: {_first_clause(contract)}")
        elif inspect.iscoroutinefunction(contract) and not inspect.iscoroutinefunction(
            inspect.unwrap(getattr(plug_in, member))
        ):
            lines.append(f"{name}.{member} must be an `async def`")
        elif _is_async(getattr(plug_in, member)) and not _is_async(contract):
            lines.append(f"{name}.{member} must be a `def`, not an `async def`")
    return lines


def _is_async(function: object) -> bool:
    return inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function)


def _first_clause(contract: object) -> str:
    """The member's contract in a few words: its docstring up to the first detail."""
    words = (inspect.getdoc(contract) or "").partition("\n")[0]
    for end in (". ", ": ", "; ", " ("):
        words = words.partition(end)[0]
    words = words.rstrip(".")
    return words[:1].lower() + words[1:]
