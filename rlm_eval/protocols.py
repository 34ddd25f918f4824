"""The contracts between the rooms: what a task, a method, a model and a REPL must provide.

A plug-in is a frozen dataclass with these members; no base class is needed. `missing` lists the
members that a class lacks when a cell is built, before any model call.
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
"""An answer function that uses no model (`floors()`)."""


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
        """True where the data come from our own generator; every table and figure marks it."""
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
        """The gold as a perfect method would answer it; it scores 1 (the `oracle` method)."""
        ...

    def floors(self) -> Mapping[str, Floor]:
        """Answer functions without a model, by name; their scores are the floor to beat."""
        ...


@runtime_checkable
class JudgedTask(Protocol):
    """A task whose headline score comes from a judge model; the runner makes the judge call."""

    def judge_prompt(self, sample: Sample, answer: Answer) -> str | None:
        """The judge's prompt; `None` where no judgement is needed (no answer)."""
        ...

    def judge_score(self, sample: Sample, answer: Answer, verdict: str) -> Score:
        """Parse the judge's reply. Raises `ValueError` where it has no clear verdict."""
        ...


class Method(Protocol):
    """A method's configuration: a frozen dataclass, one YAML in `configs/method/`.

    A class sets `writes_plain_text` where the process that it starts writes files; it then runs on
    no protected task. A class whose root requests contain more than a user turn lists the roles in
    `history`, and the preflight tests them.
    """

    @property
    def name(self) -> str:
        """Name in tables, variant included (`rlm`, `rag_dense`)."""
        ...

    @property
    def prompt_id(self) -> str:
        """Name and hash of the prompts (`own@3f2a91bc`); `-` where there are none."""
        ...

    @property
    def runs_code(self) -> bool:
        """True where the method runs code in a REPL: only then is a sandbox started and needed."""
        ...

    @property
    def slots(self) -> tuple[str, ...]:
        """The models that it calls, by slot (`root`, `sub`, ...); no other one is opened."""
        ...

    async def solve(self, sample: Sample, session: Session) -> Answer:
        """Answer `sample.question` over `sample.context`; make every model call through `session`.

        `sample.target` is `None`; `sample.evidence` is for notes alone. Propagates the session's
        exceptions; the runner maps them to outcomes.
        """
        ...


@runtime_checkable
class FittedMethod(Protocol):
    """A method whose settings may suit no sample of a task: it says so before any model call."""

    def check_fit(self, sample: Sample, models: Mapping[str, Model]) -> None:
        """Raise `ConfigError` if samples like this one cannot be answered with these settings.

        `sample` is the task's first one, without its target; `models` are those of the method's
        slots, with their windows and sampling settings. Makes no model call. The error names the
        settings to change. A reason that holds for one sample alone is an outcome of that sample
        instead.
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
        """Default sampling settings."""
        ...

    def open(self) -> AbstractAsyncContextManager[Client]:
        """Start or attach to the server and yield a client; on exit, stop what was started."""
        ...


class Client(Protocol):
    """An open connection to a model."""

    async def complete(self, messages: Sequence[Message], sampling: Sampling) -> Reply:
        """Make one chat completion, retries included.

        Raises a subclass of `core.errors.ModelError` after the last failed attempt. A cancelled
        call that may have sent a request raises `core.errors.CallCancelled`.
        """
        ...

    async def check(self) -> EndpointInfo:
        """Preflight: one cheap request that checks the key, the model name and the chat template.

        Raises a subclass of `core.errors.ModelError` whose message names the fix. Where a client
        also has `prove(history)`, that is called instead, with the roles of the turns to come.
        """
        ...

    async def account(self) -> ServerUsage | None:
        """Server usage so far; `None` where there is none to report. Never raises."""
        ...


class Session(Protocol):
    """One sample's access to the models and REPLs; it counts every call and every REPL.

    Its members raise `ConfigError` for arguments of the wrong kind.
    """

    calls: list[Call]
    """Finished calls of this sample so far, failed ones included."""
    partial: Answer | None
    """The answer that is scored where a limit ends the trajectory; set by `offer`."""
    shows_failures: bool
    """Set by a method whose protocol returns failed calls to the model by design."""
    keeps_raw: bool
    """Set by a method that reads reasoning text that the server left in its replies."""

    @property
    def slots(self) -> tuple[str, ...]:
        """The model slots of this run: the method's, and `judge` where the task needs one."""
        ...

    def model_of(self, slot: str) -> str:
        """Configured name of the model in `slot`. Raises `ConfigError` where the slot is empty."""
        ...

    def window_of(self, slot: str) -> int | None:
        """Context window of the model in `slot`, tokens; `None` = unknown."""
        ...

    def reply_cap_of(self, slot: str) -> int:
        """Cap on a reply of the model in `slot`, tokens; 0 = no cap."""
        ...

    def counter_of(self, slot: str) -> str:
        """Source of token counts for the model in `slot`: `server`, or a tokenizer's name."""
        ...

    def prefixes_of(self, slot: str) -> tuple[str, str]:
        """The embedder's prefixes for a question and for a passage."""
        ...

    async def count_tokens(self, messages: Sequence[Message], model: str = "root") -> int | None:
        """Count a prompt's tokens with the model's own tokenizer; `None` = unknown. No model call.

        Raises `ProviderError` where the server that counts does not respond.
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
        """Call the model in a slot and return the finished call.

        `position` is the deterministic path of the call site; equal requests at one position are
        distinguished by their order. A `closing` call may exceed a limit of the sample, but not a
        budget. Raises `ModelError` (the failed call is recorded) or `LimitReached` (no request was
        sent).
        """
        ...

    def open_repl(
        self, context: Any, functions: Mapping[str, HostFunction], **options: Any
    ) -> AbstractAsyncContextManager[Repl]:
        """Open a REPL seeded by the sample; only for a method with `runs_code`.

        `options` are those of `repl.ReplPool.open`.
        """
        ...

    def add_step(self, step: Step) -> None:
        """Add an executed block to the trajectory."""
        ...

    def note(self, key: str, value: Any) -> None:
        """Add a scalar to the trajectory's notes."""
        ...

    def offer(self, answer: Answer) -> None:
        """Set the best answer so far; it is scored if a limit ends the trajectory."""
        ...

    def outage(self) -> ModelError | None:
        """The provider failure that remains after all retries; `None` where there is none."""
        ...


class Repl(Protocol):
    """One live REPL. Not safe for concurrent use: one operation at a time."""

    async def run(self, code: str) -> BlockResult:
        """Run a code block in the persistent namespace.

        Raises `core.errors.ReplCrash` where the worker was lost and its state could not be
        restored, and any exception that a host function raised, except `ReplCallError`.
        """
        ...

    async def get(self, name: str) -> Value | None:
        """The variable's value; `None` where unbound. Raises `ReplValueError`, `ReplCrash`."""
        ...

    async def set(self, name: str, value: JSON) -> None:
        """Bind a variable. Raises `ReplCrash`."""
        ...


_OPTIONAL = {"gold_answer"}
"""Read only by the method `floor`; a task without golds (the user's own files) lacks it."""


def missing(plug_in: object, protocol: type) -> list[str]:
    """One line for each member of `protocol` that `plug_in` lacks, with the member's contract.

    No code of the plug-in runs. A member of the wrong kind (`solve` that is not `async def`, a
    plain attribute in place of a method) also gives a line, as does a method that does not take the
    arguments of its contract.
    """
    cls = type(plug_in)
    name = f"{cls.__module__}.{cls.__qualname__}"
    lines = []
    members = dict(protocol.__dict__)
    if protocol is Method and hasattr(plug_in, "check_fit"):
        members["check_fit"] = FittedMethod.check_fit
    for member, contract in members.items():
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
        elif (call := _unfit_call(getattr(plug_in, member), contract)) is not None:
            lines.append(f"{name}.{member} cannot be called as `{member}({call})`")
    return lines


def abstract(cls: type) -> list[str]:
    """One line for each abstract member that the class lacks, as `missing` words them."""
    name = f"{cls.__module__}.{cls.__qualname__}"
    members: frozenset[str] = getattr(cls, "__abstractmethods__", frozenset())
    contracts = {m: getattr(Task, m, None) or getattr(cls, m) for m in sorted(members)}
    return [f"{name} lacks `{m}`: {_first_clause(contract)}" for m, contract in contracts.items()]


def _unfit_call(function: Any, contract: Any) -> str | None:
    """The arguments that the harness passes, where `function` does not take them; else `None`."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # not written in Python
        return None
    _, *given = inspect.signature(contract).parameters.values()  # without `self`
    needed = [one for one in given if one.default is one.empty]
    named = {one.name: None for one in needed if one.kind is one.KEYWORD_ONLY}
    plain = [one.name for one in needed if one.name not in named]
    try:
        signature.bind(*plain, **named)
    except TypeError:
        return ", ".join([*plain, *(f"{name}=..." for name in named)])
    return None


def _is_async(function: object) -> bool:
    return inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function)


def _first_clause(contract: object) -> str:
    """The contract of a member in a few words: its docstring up to the first detail."""
    words = (inspect.getdoc(contract) or "").partition("\n")[0]
    for end in (". ", ": ", "; ", " ("):
        words = words.partition(end)[0]
    words = words.rstrip(".")
    return words[:1].lower() + words[1:]
