"""The data of the harness, from a sample to a record.

`Sample -> Trajectory -> Score -> Record -> Table -> Figure`, one direction, frozen dataclasses.
Nothing here reads a file, calls a model or imports another of our modules but `outcomes`. Derived
values are properties. `None` means unknown, never zero.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import astuple, dataclass, field
from enum import StrEnum
from typing import Any

from rlm_eval.core.outcomes import Outcome as Outcome
from rlm_eval.core.outcomes import Totals as Totals

DOCUMENT_SEPARATOR = "\n\n"
CUT_ENDS = frozenset((
    "length", "max_tokens", "model_length", "max_output_tokens", "model_context_window_exceeded",
))  # fmt: skip
"""Finish reasons of a cut reply: `length`, and the words that older journals hold."""
KNOWN_ENDS = CUT_ENDS | {"stop", "tool_calls"}
"""Finish reasons that state whether a reply is whole."""


class Role(StrEnum):
    """The purpose of a model call."""

    ROOT = "root"
    SUB = "sub"
    CHILD_ROOT = "child_root"
    JUDGE = "judge"
    SUMMARY = "summary"
    EMBED = "embed"
    RERANK = "rerank"


class Density(StrEnum):
    """How much of the context must be processed as it grows (arXiv:2512.24601, section 2.1)."""

    CONSTANT = "constant"
    LINEAR = "linear"
    QUADRATIC = "quadratic"


RENAMED_PROMPTS = {"rlm/own": "rlm/search"}
"""Name of the first release -> name in tables. Files, identities and records keep the first one."""


@dataclass(frozen=True, slots=True)
class Message:
    """One chat message, as sent."""

    role: str
    """`system`, `user` or `assistant`."""
    content: str
    """The text, whole."""


@dataclass(frozen=True, slots=True)
class Slice:
    """A contiguous part of a stored text: an exact match, never a paraphrase."""

    source: str
    """Hash of the text it is cut from (`text_hash`)."""
    start: int
    """First character."""
    end: int
    """One past the last character."""


PromptPart = Slice | str
"""Literal text, or a slice of a stored text."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """The messages of one call, with slices instead of copied text."""

    messages: tuple[tuple[str, tuple[PromptPart, ...]], ...]
    """(role, parts) per message; the parts joined give the text sent."""


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one call as the provider reported them."""

    input: int | None = None
    """Prompt tokens, cached ones included."""
    cached: int | None = None
    """Prompt tokens read from the provider's cache."""
    output: int | None = None
    """Completion tokens, reasoning included."""
    reasoning: int | None = None
    """Completion tokens spent on reasoning."""

    @property
    def total(self) -> int | None:
        """Prompt and completion tokens; `None` where neither is known."""
        if self.input is None and self.output is None:
            return None
        return (self.input or 0) + (self.output or 0)


def added(a: Usage, b: Usage) -> Usage:
    """Sum of two usages; unknown and known is known, unknown and unknown is unknown."""
    pairs = zip(astuple(a), astuple(b), strict=True)
    return Usage(*(x if y is None else y if x is None else x + y for x, y in pairs))


@dataclass(frozen=True, slots=True)
class Times:
    """Monotonic seconds since the sample's start."""

    submit: float
    """The method made the call."""
    start: float
    """The request that succeeded (or failed last) left our queue."""
    first_token: float | None
    """First token seen; `None` where the reply was not streamed."""
    end: float
    """The reply was complete."""


@dataclass(frozen=True, slots=True)
class Reply:
    """A model's reply."""

    text: str
    """The visible reply; reasoning removed."""
    finish_reason: str
    """`stop`, `length` (cut), `tool_calls` (`models.http.finish`), another word, or empty."""
    usage: Usage = Usage()
    """Tokens."""
    reasoning: str = ""
    """Reasoning text, kept apart."""
    model: str = ""
    """The model version that the provider reported."""
    attempts: int = 1
    """Requests sent for this reply, failed ones included."""
    queue_seconds: float = 0.0
    """Seconds spent waiting in our own queues and in back-off."""
    service_seconds: float | None = None
    """Seconds from sending the request that succeeded to the end of the reply."""
    first_token_seconds: float | None = None
    """Seconds from sending to the first token; `None` where not streamed."""
    failed: tuple[Usage, ...] = ()
    """Tokens billed for each failed attempt of this call; not included in `usage`."""
    lost_attempts: int = 0
    """Requests sent but never answered; they may have been billed."""
    raw: str = ""
    """The text as sent, thoughts included; empty where it equals `text`."""

    @property
    def failed_usage(self) -> Usage:
        """Sum over `failed`."""
        return functools.reduce(added, self.failed, Usage())


@dataclass(frozen=True, slots=True)
class Call:
    """One finished model call of a trajectory."""

    id: int
    """Number within the trajectory, by order of submission."""
    parent: int | None
    """The root call whose code block made this call; `None` for a root call at depth 0."""
    depth: int
    """0 for the root, 1 for its sub-calls, and so on."""
    role: Role
    """The purpose of the call."""
    turn: int
    """Turn of the trajectory (or child trajectory) that made it, from 0."""
    position: str
    """Path of the calling place; with the request's hash and occurrence it keys the journal."""
    slot: str
    """Which of the run's models: `root`, `sub`, `judge`, `embed`, ..."""
    model: str
    """Model name that the provider reported, else the configured one."""
    prompt: Prompt
    """Messages as slices and literals."""
    reply: str
    """Visible text."""
    reasoning: str
    """Reasoning text."""
    finish_reason: str
    """See `Reply.finish_reason`; empty where the call failed."""
    usage: Usage
    """Tokens."""
    times: Times
    """Times of the call."""
    attempts: int
    """Requests sent."""
    error: str | None = None
    """`kind: message` of the failure, else `None`."""
    failed: tuple[Usage, ...] = ()
    """Tokens billed for each failed attempt of this call; not included in `usage`."""
    lost_attempts: int = 0
    """Requests sent but never answered; they may have been billed."""
    estimate: Usage = Usage()
    """Estimated tokens of one attempt (prompt, output cap), counted in budgets for a lost attempt
    or a reply without usage. Set only where there is one; never part of `usage`."""
    replayed: bool = False
    """True where the reply came from the journal and cost nothing this time."""
    prompt_tokens_at_least: int | None = None
    """Least tokens of the prompt, where the server counted far fewer: it cut the prompt."""
    raw: str = ""
    """As `Reply.raw`; kept only for methods that read thoughts (`Session.keeps_raw`)."""
    unknown: tuple[str, ...] = ()
    """Not in an imported log: of `times`, `prompt`, `finish_reason`, `attempts`, `depth` (role)."""

    @property
    def as_sent(self) -> str:
        """The reply as the server sent it, as far as it was kept."""
        return self.raw or self.reply

    @property
    def failed_usage(self) -> Usage:
        """Sum over `failed`."""
        return functools.reduce(added, self.failed, Usage())

    @property
    def estimated_attempts(self) -> int:
        """Attempts whose bill counts as `estimate`: lost ones, unreported usage."""
        unknown = self.lost_attempts + (self.error is None and self.usage.total is None)
        return unknown if self.estimate != Usage() else 0

    @property
    def is_cut(self) -> bool:
        """True where the reply was cut at its output cap or at the end of the window."""
        return self.finish_reason.lower() in CUT_ENDS

    @property
    def has_unknown_end(self) -> bool:
        """True where the finish reason of a reply is unknown: the reply may have been cut."""
        said = "finish_reason" not in self.unknown
        return said and self.error is None and self.finish_reason.lower() not in KNOWN_ENDS

    @property
    def is_server_cut(self) -> bool:
        """True where the server dropped a part of the prompt."""
        return self.prompt_tokens_at_least is not None


@dataclass(frozen=True, slots=True)
class Step:
    """One executed code block."""

    call: int
    """The root call whose reply held the block."""
    position: str
    """Path of the block."""
    code: str
    """The block."""
    stdout: str
    """The stdout that the model was shown."""
    stdout_chars: int
    """Full length of stdout."""
    stderr: str
    """The stderr that the model was shown: tracebacks and warnings."""
    stderr_chars: int
    """Full length of stderr."""
    cpu_seconds: float | None
    """Processor time of the block, seconds; `None` where it cannot be measured."""
    wall_seconds: float
    """Seconds from start to end, sub-calls included."""
    error: str | None = None
    """Exception type, or the limit that was hit."""
    calls: tuple[int, ...] = ()
    """Ids of the sub-calls it made."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A method's answer to a sample."""

    text: str | None
    """The answer as text; `None` where there is none."""
    value: Any = None
    """The answer as a plain Python object (lists, numbers) where one was returned."""
    call: int | None = None
    """The call that produced it, whose end decides `truncated`; `None` = as its text suggests."""
    provenance: str = "root_text"
    """`root_text`, `variable`, `sub_call`, `fallback`, `program`."""
    outcome: Outcome | None = None
    """Set where the method itself sets the outcome (`no_answer`, `limit:turns`); else derived."""


@dataclass(frozen=True)
class Context:
    """The long input: text made on demand, identified by content.

    For several documents it is a tuple of strings; the canonical text (slices, evidence) joins them
    with `DOCUMENT_SEPARATOR`. For an imported sample, unknown is `None`, `Sample.length` too.
    """

    hash: str
    """`text_hash` of the canonical text."""
    chars: int
    """Characters of the canonical text."""
    tokens: int
    """Tokens of the canonical text under `tokenizer`."""
    tokenizer: str
    """Name of the tokenizer that counted `tokens`."""
    load: Callable[[], str | tuple[str, ...]] = field(compare=False, repr=False)
    """Returns the value: a text, or documents."""

    def value(self) -> str | tuple[str, ...]:
        """The context as a method receives it."""
        return self.load()

    def text(self) -> str:
        """The canonical text."""
        return canonical_text(self.load())


@dataclass(frozen=True)
class Sample:
    """One question over one context."""

    id: str
    """Hash of the facts that determine the sample."""
    task: str
    """Name of the task."""
    index: int
    """Number within the task's cell, from 0."""
    question: str
    """The question to the method, answer format included."""
    context: Context
    """The long input."""
    target: Any
    """The gold answer(s), JSON-shaped; `None` where a method sees the sample."""
    length: int
    """Nominal length in tokens: the key of the cell."""
    cluster: str
    """Samples with the same value share a context or a base item (standard errors)."""
    item: str
    """The underlying item: equal across lengths where only the filler grows (pairing)."""
    evidence: tuple[tuple[int, int], ...] = ()
    """Character spans of the canonical text that hold the answer."""
    meta: Mapping[str, Any] = field(default_factory=dict)
    """Scalars for analysis (needle depth, scope of the question, ...)."""
    output_cap: int | None = None
    """Output tokens that the benchmark's own protocol allows; reaching it is not `truncated`."""


@dataclass(frozen=True, slots=True)
class Score:
    """One scorer's verdict on one answer."""

    scorer: str
    """Name: `official`, `lenient`, `fixed`, `strict`, `judge`."""
    value: float | None
    """In [0, 1]; `None` = not scored."""
    parsed: str | None = None
    """The text that the scorer read as the answer."""
    version: str = "1"
    """Changes whenever the same answer may score differently."""
    flag: str | None = None
    """A note for readers: the reference raised, a parse error, ..."""


@dataclass(frozen=True)
class Trajectory:
    """The complete record of one sample and epoch."""

    sample: str
    """Sample id."""
    epoch: int
    """Repeat number, from 0."""
    answer: Answer
    """The method's answer."""
    outcome: Outcome
    """The outcome."""
    calls: tuple[Call, ...]
    """Every model call, at every depth."""
    steps: tuple[Step, ...]
    """Every executed block."""
    wall_seconds: float | None
    """Seconds from start to end, at the run's concurrency; on resume, stored times of replayed
    calls included. `None`: an imported log has no time."""
    error: str | None = None
    """Message of the failure that ended it."""
    notes: Mapping[str, Any] = field(default_factory=dict)
    """Scalars the method recorded (retrieval recall, parser modes, kept tokens, ...)."""
    totals: Totals | None = None
    """For an imported row without calls: the totals stated in its log."""


def text_hash(text: str) -> str:
    """Return the identity of a text: the first 32 hex digits of its SHA-256."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def canonical_text(value: str | tuple[str, ...]) -> str:
    """Return the canonical text of a context value."""
    return value if isinstance(value, str) else DOCUMENT_SEPARATOR.join(value)
