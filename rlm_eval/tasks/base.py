"""Shared by all tasks: exact lengths, content-based identity, and a cache of generated samples.

A generated task is `GeneratedTask` plus one method, `draft(index)`. This module is independent of
any benchmark. Samples depend on (configuration, seed, index) and never on `n`, so a longer run
extends a shorter one. All randomness comes from `rng(...)`, whose stream is the same on every
machine; `hash()` and the iteration order of sets are never used.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import random
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import orjson

from rlm_eval.core.code_hash import cache_key as class_hash  # the hash covers this name
from rlm_eval.core.errors import ConfigError, NoSamples, RlmEvalError
from rlm_eval.core.paths import cache_dir, write_atomic
from rlm_eval.core.tokens import DEFAULT, Tokenizer, get_tokenizer
from rlm_eval.core.types import Answer, Context, Density, Sample, Score, canonical_text, text_hash
from rlm_eval.tasks import Floor
from rlm_eval.tasks.baselines import Baseline

TOLERANCE = 0.005
"""Share of the nominal length by which a generated sample may fall short."""


def rng(*parts: object) -> random.Random:
    """Return a random generator seeded by everything that determines the draw."""
    return random.Random("|".join(map(str, parts)))


@functools.cache
def data(name: str) -> Any:
    """Load a JSON file of `rlm_eval/tasks/data`, cached; do not mutate the result."""
    return orjson.loads((Path(__file__).parent / "data" / name).read_bytes())


@dataclass(frozen=True)
class Draft:
    """One sample before it gets an identity."""

    question: str
    """The question in the prompt."""
    context: str | tuple[str, ...]
    """The long input: a text, or documents."""
    target: Any
    """The gold, JSON-compatible."""
    cluster: str
    """Cluster label: equal for samples that share a context or a base item."""
    item: str
    """The underlying item; equal across lengths."""
    tokens: int | None = None
    """Measured tokens of the canonical text; `None` = not measured yet."""
    evidence: tuple[tuple[int, int], ...] = ()
    """Evidence as character spans of the canonical text."""
    meta: Mapping[str, Any] = field(default_factory=dict)
    """Scalars for analysis."""
    length: int | None = None
    """Nominal tokens where the row has its own length; `None` = the task's."""


def make_context(
    value: str | tuple[str, ...], tokenizer: Tokenizer, tokens: int | None = None
) -> Context:
    """Store a context in the cache folder and load it on demand.

    Documents are stored separately, so that nested document sets share them.
    """
    text = canonical_text(value)
    hashed = text_hash(text)
    if isinstance(value, str):
        _keep(_context_path(hashed), value)
    else:
        for document in value:
            _keep(_context_path(text_hash(document)), document)
        _keep(_context_path(hashed, ".json"), json.dumps([text_hash(d) for d in value]))
    counted = tokenizer.count(text) if tokens is None else tokens
    load = _Stored(hashed, isinstance(value, tuple))
    return Context(hashed, len(text), counted, tokenizer.name, load)


@dataclass(frozen=True)
class _Stored:
    """Loads a context from the cache folder and checks its hash."""

    hash: str
    documents: bool

    def __call__(self) -> str | tuple[str, ...]:
        if not self.documents:
            return self._read(self.hash)
        names = json.loads(_context_path(self.hash, ".json").read_text("utf-8"))
        return tuple(self._read(name) for name in names)

    def _read(self, name: str) -> str:
        path = _context_path(name)
        text = path.read_bytes().decode("utf-8", "surrogatepass")
        if text_hash(text) != name:
            raise RlmEvalError(f"{path} was changed; delete it and run again")
        return text


def _context_path(hashed: str, suffix: str = ".txt") -> Path:
    return cache_dir() / "contexts" / hashed[:2] / f"{hashed}{suffix}"


def _keep(path: Path, text: str) -> None:
    if not path.exists():
        write_atomic(path, text.encode("utf-8", "surrogatepass"))


def make_sample(
    task: str, index: int, length: int, draft: Draft, context: Context, output_cap: int | None
) -> Sample:
    """Build a sample, identified by its question, context and gold."""
    facts = [draft.question, context.hash, draft.target]
    return Sample(
        id=text_hash(json.dumps(facts, sort_keys=True, ensure_ascii=False, default=str)),
        task=task,
        index=index,
        question=draft.question,
        context=context,
        target=draft.target,
        length=draft.length or length,
        cluster=draft.cluster,
        item=draft.item,
        evidence=draft.evidence,
        meta=draft.meta,
        output_cap=output_cap,
    )


def distinct(samples: Iterator[Sample]) -> Iterator[Sample]:
    """Yield the samples unchanged. Raises `ConfigError` for a duplicate, `NoSamples` for none."""
    seen: dict[str, int] = {}
    for sample in samples:
        first = seen.setdefault(sample.id, sample.index)
        if first != sample.index:
            raise ConfigError(
                f"{sample.task}: samples {first} and {sample.index} have the same question, "
                "context and gold; drop one of them, or use epochs= to repeat samples"
            )
        yield sample
    if not seen:
        raise NoSamples


@dataclass(frozen=True)
class SampledTask(ABC):
    """Base class of generated and loaded tasks."""

    name: str = ""
    """Name in tables; generated data never use a real benchmark's own name."""
    n: int = 50
    """Samples; a data set may have fewer."""
    tokenizer: str = DEFAULT
    """Tokenizer that measures the contexts; independent of the model."""

    OUTPUT_CAP: ClassVar[int | None] = None  # the benchmark's own limit on new tokens
    density: ClassVar[Density] = Density.CONSTANT
    generated: ClassVar[bool] = False
    protected: ClassVar[bool] = False
    # A search or a program, with a quarter of the text read at most, solves it by design.
    solved_by_code: ClassVar[bool] = False
    operation: ClassVar[str | None] = None  # count, sum, filter or join: see `methods.matched`

    def __post_init__(self) -> None:
        if self.n < 1:
            raise ValueError(f"n={self.n} must be 1 or more")

    @abstractmethod
    def score(self, sample: Sample, answer: Answer) -> tuple[Score, ...]:
        """See `tasks.Task`."""

    @abstractmethod
    def floors(self) -> Mapping[str, Floor]:
        """See `tasks.Task`."""

    def baselines(self) -> Sequence[Baseline]:
        """Task-specific rules that answer without a model, in addition to the common ones."""
        return ()

    def gold_answer(self, sample: Sample) -> Answer:
        """The gold as a perfect method would answer it."""
        target = sample.target
        return Answer(", ".join(target) if isinstance(target, list) else str(target))

    @property
    def counter(self) -> Tokenizer:
        """The task's tokenizer."""
        return get_tokenizer(self.tokenizer)


@dataclass(frozen=True)
class CachedTask(SampledTask):
    """A task with data from our own generator, of any size."""

    seed: int = 0
    """Seed of the samples."""

    VERSION: ClassVar[int] = 1  # raise it when the same configuration gives other samples
    generated: ClassVar[bool] = True

    @abstractmethod
    def draft(self, index: int) -> Draft:
        """Sample number `index`."""

    @property
    def exact_length(self) -> bool:
        """True where sample lengths equal the nominal length to within `TOLERANCE`."""
        return True

    def outside_facts(self) -> Any:
        """Inputs that determine the samples in addition to the fields (a user file's hash)."""
        return None

    def samples(self) -> Iterator[Sample]:
        """Yield the cell's samples, from the cache where possible."""
        return distinct(self._samples())

    def drawn(self) -> Iterator[Sample]:
        """Yield the cell's samples from the generator, ignoring the cache."""
        return distinct(map(self._new, range(self.n)))

    def _new(self, index: int) -> Sample:
        draft = self._drafted(index)
        context = make_context(draft.context, self.counter, draft.tokens)
        return make_sample(self.name, index, context.tokens, draft, context, self.OUTPUT_CAP)

    def _samples(self) -> Iterator[Sample]:
        path = self._cache_path()
        rows: list[bytes] = path.read_bytes().splitlines() if path.exists() else []
        known = len(rows)
        for index in range(self.n):
            sample = self._restore(index, rows[index]) if index < len(rows) else None
            if sample is None:
                sample = self._new(index)
                rows[index : index + 1] = [_row(sample)]
                known = 0
            yield sample
        if known < self.n:
            write_atomic(path, b"\n".join(rows))

    def _drafted(self, index: int) -> Draft:
        return self.draft(index)

    def _cache_path(self) -> Path:
        fields = {
            f.name: getattr(self, f.name)
            for f in dataclasses.fields(self)
            if f.name not in ("n", "name")
        }
        cls = type(self)
        # Samples of older code must not be reused: the key includes the code's hash.
        code = class_hash(f"{cls.__module__}.{cls.__qualname__}", without="score")
        facts = [cls.__name__, self.VERSION, code, fields, self.outside_facts()]
        key = text_hash(json.dumps(facts, sort_keys=True, default=str))
        return cache_dir() / "samples" / f"{cls.__name__}-{key[:16]}.jsonl"

    def _restore(self, index: int, row: bytes) -> Sample | None:
        """Restore the sample of a cached row; `None` where its context is missing."""
        stored = orjson.loads(row)
        load = _Stored(stored["context"][0], stored.pop("documents"))
        suffix = ".json" if load.documents else ".txt"
        if not _context_path(load.hash, suffix).exists():
            return None
        hashed, chars, tokens, tokenizer = stored["context"]
        stored["context"] = Context(hashed, chars, tokens, tokenizer, load)
        stored["evidence"] = tuple((start, end) for start, end in stored["evidence"])
        return Sample(**stored | {"task": self.name, "index": index})


@dataclass(frozen=True)
class GeneratedTask(CachedTask):
    """A generated task of an exact length."""

    length: int = 4096
    """Nominal tokens: context, question and answer budget together."""

    ANSWER_BUDGET: ClassVar[int] = 128  # tokens of the length reserved for the answer

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.length < 256:
            raise ValueError(f"length={self.length} must be 256 or more")

    def _drafted(self, index: int) -> Draft:
        return dataclasses.replace(self.draft(index), length=self.length)

    def room(self, question: str) -> int:
        """Tokens available for the context after the question and the answer budget."""
        room = self.length - self.counter.count(question) - self.ANSWER_BUDGET
        if room < 32:
            raise ConfigError(f"{self.name}: length={self.length} leaves no room for a context")
        return room


def _row(sample: Sample) -> bytes:
    facts = {f.name: getattr(sample, f.name) for f in dataclasses.fields(sample)}
    context = sample.context
    facts["context"] = [context.hash, context.chars, context.tokens, context.tokenizer]
    assert isinstance(context.load, _Stored)
    facts["documents"] = context.load.documents
    return orjson.dumps(facts)


def top_up(costs: Sequence[float], remaining: float, slack: float, most: int = 3) -> list[int]:
    """Positions of up to `most` distinct units whose costs fill `remaining` to within `slack`.

    Empty where nothing fits (or nothing is needed). Uses the fewest units, the largest first.
    """
    places: dict[float, list[int]] = {}
    for place, cost in enumerate(costs):
        places.setdefault(cost, []).append(place)
    distinct_costs = sorted(places, reverse=True)

    def search(left: float, start: int, depth: int) -> list[float] | None:
        for i in range(start, len(distinct_costs)):
            cost = distinct_costs[i]
            if cost * depth < left - slack:
                return None
            if left - slack <= cost <= left:
                return [cost]
            if depth > 1 and cost < left:
                rest = search(left - cost, i, depth - 1)
                if rest is not None and [cost, *rest].count(cost) <= len(places[cost]):
                    return [cost, *rest]
        return None

    if remaining > slack:
        for depth in range(1, most + 1):
            found = search(remaining, 0, depth)
            if found is not None:
                return [places[cost].pop(0) for cost in found]
    return []


def fit(
    make: Callable[[float, float], str], room: int, length: int, tokenizer: Tokenizer
) -> tuple[str, int]:
    """Build a text of at most `room` tokens that falls short by less than the tolerance.

    `make(budget, slack)` builds one by arithmetic: at most `budget` tokens, at least `budget -
    slack`. The result is measured once; where a tokenizer is not additive over the units, the
    budget is corrected and the text rebuilt. Returns the text and its measured tokens. Raises
    `RlmEvalError` where the units are too coarse.
    """
    slack = max(TOLERANCE * length * 0.9, 2.0)
    budget = float(room)
    nearest, most = budget, -1
    for _ in range(8):
        text = make(budget, slack * 0.6)
        tokens = tokenizer.count(text)
        if room - slack <= tokens <= room:
            return text, tokens
        if most < tokens <= room:
            nearest, most = budget, tokens
        budget += room - slack / 5 - tokens
    if most >= room - TOLERANCE * length:  # without the margin reserved above
        return make(nearest, slack * 0.6), most
    raise RlmEvalError(
        f"cannot fill {room} tokens of {tokenizer.name} to within {slack:.0f}: the last try has "
        f"{tokens}; use a longer length or another tokenizer"
    )
