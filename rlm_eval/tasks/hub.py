"""Tasks whose samples are rows of a data set: from the hub at a pinned revision, or a local file.

Hub data are read once (`hub_rows`), and the resulting samples are cached too: cells and processes
share them without another request to the hub. The meaning of a row is elsewhere.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import re
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import orjson

from rlm_eval.core.code_hash import cache_key as class_hash  # the hash covers this name
from rlm_eval.core.errors import ConfigError
from rlm_eval.core.messages import warn
from rlm_eval.core.paths import cache_dir, write_atomic
from rlm_eval.core.types import Answer, Context, Sample, text_hash
from rlm_eval.tasks import JudgedTask
from rlm_eval.tasks.base import (
    Draft,
    SampledTask,
    _context_path,
    _row,
    _Stored,
    distinct,
    make_context,
    make_sample,
)
from rlm_eval.tasks.hub_rows import Source

_OTHER_FORM = (AttributeError, LookupError, SyntaxError, TypeError, ValueError)
"""What reading a row of another form raises."""
_CHECKED: set[tuple[str, str]] = set()
"""(task, sample) whose golds this process has checked: every cell of a sweep draws them anew."""
_NAMED: set[str] = set()
"""Tasks of which one published gold with a fault was named."""


def local_files(task: object) -> list[str]:
    """The files that a task's settings name: `path`, and those that end in `_path`."""
    if not dataclasses.is_dataclass(task):
        return []
    names = [f.name for f in dataclasses.fields(task)]
    found = [getattr(task, n) for n in names if n == "path" or n.endswith("_path")]
    return [path for path in found if path is not None]


@dataclass(frozen=True)
class LoadedTask(SampledTask):
    """A task whose samples are rows. A subclass defines `drafts()`, `score()` and `floors()`."""

    path: str | None = None
    """Local file with the same columns; `None` = the hub."""

    @abstractmethod
    def drafts(self) -> Iterator[Draft]:
        """Yield all samples in a fixed order, reading no further than requested."""

    def sources(self) -> Sequence[Source]:
        """Hub data that the samples need; empty where they come from local files."""
        return ()

    @property
    def pinned(self) -> bool:
        """True where the samples come only from commits of the hub, so that they never change."""
        commits = [re.fullmatch("[0-9a-f]{7,40}", source.revision) for source in self.sources()]
        return bool(commits) and all(commits) and not local_files(self)

    def fetch(self) -> None:
        """Download the hub data that the samples need, and build the samples."""
        for source in self.sources():
            source.fetch()
        if self.sources() and not self.protected:
            for _ in self.samples():
                pass

    def samples(self) -> Iterator[Sample]:
        """Yield the first `n` samples.

        The key is a row's own nominal length, otherwise the power of two that holds its measured
        tokens: rows of all sizes then share table lines."""
        return distinct(self._kept_samples() if self.pinned else self._samples())

    def _samples(self) -> Iterator[Sample]:
        for index, draft in enumerate(itertools.islice(self.drafts(), self.n)):
            context = make_context(draft.context, self.counter, draft.tokens)
            length = 1 << max(0, context.tokens - 1).bit_length()
            sample = make_sample(self.name, index, length, draft, context, self.OUTPUT_CAP)
            self._check_gold(sample)
            yield sample

    def _check_gold(self, sample: Sample) -> None:
        own = repr(self)
        if own in _NAMED or (own, sample.id) in _CHECKED:
            return
        named = f"sample {sample.index + 1} (item {sample.item})"
        with self.reading(named):
            fault = self.gold_fault(sample)
        if fault is None:
            _CHECKED.add((own, sample.id))
            return
        shown = "" if self.protected else f" {sample.target!r:.60}"
        told = f"{self._place}, {named}: the gold{shown} {fault}"
        if not self.sources():
            raise ConfigError(f"{told}. {self.gold_form}")
        # Published golds are scored as they are, the benchmark's own errors included.
        warn(f"{told}; it is kept as published, and further ones are not named")
        _NAMED.add(own)

    def gold_fault(self, sample: Sample) -> str | None:
        """Say why a gold cannot be scored; `None` where it can.

        As an answer it must score 1, and no answer 0. Checked for every sample before a model is
        called: with golds of another form a whole run reads 0 %, or 100 %.
        """
        if isinstance(self, JudgedTask):  # the headline is the judge's
            return None
        found = [self.score(sample, a) for a in (self.gold_answer(sample), Answer(""))]
        own, empty = ((scores[0].value if scores else None) for scores in found)
        if own is not None and own != 1.0:
            return f"scores {own:g}, not 1, where it is the answer ({found[0][0].scorer})"
        return f"gives an empty answer {empty:g}, not 0" if empty else None

    @property
    def gold_form(self) -> str:
        """Form of the golds, as a sentence for the error about one of another form."""
        return "The file needs the golds of the data set that it stands for"

    @property
    def _place(self) -> str:
        named = [*local_files(self), *(source.label for source in self.sources())]
        return ", ".join(named) or self.name

    @contextmanager
    def reading(self, row: str) -> Iterator[None]:
        """Turn what a row of another form raises into one `ConfigError` that names `row`."""
        try:
            yield
        except _OTHER_FORM as error:
            told = f"{self._place}, {row}: cannot be read ({type(error).__name__}: {error})"
            raise ConfigError(
                f"{told}; it needs the columns, and their forms, of the data set that it stands for"
            ) from error

    def _kept_samples(self) -> Iterator[Sample]:
        """`_samples` with a cache: data pinned on the hub never change."""
        path = self._kept_path()
        if path.is_file():
            found = [self._restored(line) for line in path.read_bytes().splitlines()]
            if all(_context_path(s.context.hash, suffix).exists() for s, suffix in found):
                yield from (sample for sample, _ in found)
                return
        made = []
        for sample in self._samples():
            made.append(_row(sample))
            yield sample
        write_atomic(path, b"\n".join(made))

    def _kept_path(self) -> Path:
        cls = type(self)
        fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        del fields["name"]
        code = class_hash(f"{cls.__module__}.{cls.__qualname__}", without="score")
        version = getattr(cls, "VERSION", 1)
        facts = [cls.__name__, version, code, fields, [source.key for source in self.sources()]]
        key = text_hash(json.dumps(facts, sort_keys=True, default=str))
        return cache_dir() / "samples" / f"{cls.__name__}-{key[:16]}.jsonl"

    def _restored(self, line: bytes) -> tuple[Sample, str]:
        """A cached sample, and the suffix of its context's file."""
        stored = orjson.loads(line)
        load = _Stored(stored["context"][0], stored.pop("documents"))
        hashed, chars, tokens, tokenizer = stored["context"]
        stored["context"] = Context(hashed, chars, tokens, tokenizer, load)
        stored["evidence"] = tuple((start, end) for start, end in stored["evidence"])
        return Sample(**stored | {"task": self.name}), ".json" if load.documents else ".txt"
