"""`oolong_rows`: OOLONG's windows, questions and scorers over the user's labelled lines.

The lines come from a file (JSON lines, JSON, CSV, TSV, Parquet) or from a data set of the hub;
users, dates and each window's label shares are drawn as in OOLONG. No text occurs twice in a
window; windows of one file share lines. Invented lines are in `oolong_gen`.
"""

from __future__ import annotations

import functools
import random
import re
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from rlm_eval.core.errors import ConfigError
from rlm_eval.core.types import text_hash
from rlm_eval.tasks.hub_rows import HubRows, Source, labelled_rows, with_names
from rlm_eval.tasks.oolong.base import LabelledWindows
from rlm_eval.tasks.oolong.grammar import NoMoreLines, Writer, described
from rlm_eval.tasks.oolong.lines import BagOfWords
from rlm_eval.tasks.rows import table_rows

FEWEST_LINES = 20
"""Minimum lines per label."""
_UNREADABLE = re.compile(r"[:*\[\]]|datetime")
"""What a label must not contain: OOLONG's scorer cuts answers at it, so that no answer is right."""


@dataclass(frozen=True, eq=False)
class Lines:
    """Labelled lines by label. Satisfies `oolong_grammar.Source`."""

    place: str
    """File or data set, for error messages."""
    items: str
    task: str
    pool: Mapping[str, tuple[str, ...]]
    """Label -> its distinct texts."""

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels in alphabetical order."""
        return tuple(self.pool)

    def described(self, n: int, order: Sequence[str]) -> str:
        """See `Source`."""
        return described(n, self.items, self.task, order)

    def writer(self, source: random.Random) -> Writer:
        """See `Source`."""
        return _Drawn(self, source)

    @property
    def hash(self) -> str:
        """Hash of all texts and labels."""
        return text_hash("\n".join(f"{k}\t{t}" for k, ts in self.pool.items() for t in ts))


class _Drawn:
    """Draws the lines of each label without replacement."""

    def __init__(self, lines: Lines, source: random.Random) -> None:
        self.lines = lines
        self._left = {label: list(texts) for label, texts in lines.pool.items()}
        for texts in self._left.values():
            source.shuffle(texts)

    def make(self, label: str) -> str:
        """See `Writer`. Raises `NoMoreLines` where the label's lines are exhausted."""
        if not self._left[label]:
            raise NoMoreLines(
                f"{self.lines.place}: the window needs more lines of label {label!r} than the "
                f"{len(self.lines.pool[label])} there are; use a shorter length, or give more lines"
            )
        return self._left[label].pop()


@dataclass(frozen=True)
class OolongRows(LabelledWindows):
    """See the module's docstring."""

    name: str = "oolong_rows"
    """Name in tables."""
    path: str | None = None
    """File of lines: `.jsonl`, `.json`, `.csv`, `.tsv` or `.parquet`; `None` = `repository`."""
    repository: str | None = None
    """Data set of the hub, for example `ucirvine/sms_spam`."""
    config: str | None = None
    """Configuration of the hub's data set."""
    split: str = "train"
    """Split of the hub's data set."""
    revision: str = "main"
    """Revision of the hub's data set; set a commit for reproducible results."""
    text_column: str = "text"
    """Column of the text."""
    label_column: str = "label"
    """Column of the label."""
    columns: list[str] | None = field(default=None, hash=False)
    """Names of the columns of a CSV or TSV file whose first line is not a header."""
    rename: dict[str, str] = field(default_factory=dict, hash=False)
    """Label in the data -> label in the task; if set, lines with other labels are excluded."""
    items: str = "texts"
    """Kind of the lines, in the plural, for the preamble."""
    task: str = "Each line can be classified as one of {k} labels: {labels}."
    """Description of the labels in the preamble."""

    VERSION: ClassVar[int] = 1
    BLOCK: ClassVar[int] = 8  # a larger block would exhaust the lines of a small file
    generated: ClassVar[bool] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.path is None) is (self.repository is None):
            given = "neither is given" if self.path is None else "both are given"
            raise ValueError(
                f"the lines come from a file (task.path=lines.csv) or from a data set of the hub "
                f"(task.path=null task.repository=OWNER/NAME), and {given}"
            )
        if "{labels}" not in self.task:
            raise ValueError("task: the preamble must name the labels; write {labels} in it")

    def source(self) -> Lines:
        """The lines, read once. Raises `ConfigError` describing the problem with them."""
        place = self.path or f"{self.repository}@{self.revision} ({self.split})"
        stamp = Path(self.path).stat().st_mtime_ns if self.path and Path(self.path).exists() else 0
        named = tuple(self.columns) if self.columns else None
        asked = (self.path, self.repository, self.config, self.split, self.revision)
        named_by, rename = (self.text_column, self.label_column), tuple(self.rename.items())
        return _read(place, stamp, asked, named_by, named, rename, self.items, self.task)

    def sources(self) -> Sequence[Source]:
        """Hub data that the lines need; empty where they come from a file."""
        if self.repository is None:
            return ()
        return (_hub(self.repository, self.revision, self.split, self.config),)

    def outside_facts(self) -> Any:
        """The hash of the lines."""
        return self.source().hash

    def window_key(self, number: int) -> str:
        """See `LabelledWindows`."""
        return f"oolong_rows|{self.source().hash[:16]}|{self.seed}|{number}"

    def classifier(self) -> Callable[[str], str]:
        """A bag of words for each half of the lines, trained on the other half."""
        return _halves(self.source())


def _hub(repository: str, revision: str, split: str, config: str | None) -> HubRows:
    return HubRows(repository, revision, split, config=config, as_files=True)


@functools.lru_cache(maxsize=4)
def _halves(lines: Lines) -> Callable[[str], str]:
    def half(text: str) -> int:
        return zlib.crc32(text.encode()) % 2

    every = [(text, label) for label, texts in lines.pool.items() for text in texts]
    trained = [BagOfWords(lines.labels, [p for p in every if half(p[0]) != h]) for h in (0, 1)]
    return lambda text: trained[half(text)].label(text)


@functools.lru_cache(maxsize=8)
def _read(
    place: str,
    stamp: int,  # noqa: ARG001 - cache key: a changed file is read again
    asked: tuple[str | None, str | None, str | None, str, str],
    columns: tuple[str, str],
    named: tuple[str, ...] | None,
    rename: tuple[tuple[str, str], ...],
    items: str,
    task: str,
) -> Lines:
    path, repository, config, split, revision = asked
    if path is not None:
        rows: Iterable[Mapping[str, Any]] = _file_rows(path, named, columns[1])
    else:
        rows = labelled_rows(_hub(str(repository), revision, split, config), columns[1])
    pool: dict[str, dict[str, None]] = {}
    known = dict(rename)
    labels_of: dict[str, str] = {}
    number = 0
    for number, row in enumerate(rows, 1):
        missing = [column for column in columns if row.get(column) is None]
        if missing:
            raise ConfigError(
                f"{place}, row {number}: no {', '.join(missing)}; the row has "
                f"{', '.join(map(str, row))}. Name your columns with task.text_column and "
                "task.label_column"
            )
        if wrong := [c for c in columns if isinstance(row[c], list | dict)]:
            raise ConfigError(
                f"{place}, row {number}: {wrong[0]} is a {type(row[wrong[0]]).__name__}; a text "
                "and a label must each be one text, number or boolean"
            )
        text = " ".join(str(row[columns[0]]).split())
        label = str(row[columns[1]]).strip()
        if rename and label not in known:
            continue
        label = known.get(label, label)
        if not text or not label:
            raise ConfigError(f"{place}, row {number}: an empty text or label; remove the row")
        if labels_of.setdefault(text, label) == label:
            pool.setdefault(label, {})[text] = None
    _check(place, number, pool, rename)
    return Lines(place, items, task, {label: tuple(pool[label]) for label in sorted(pool)})


def _check(
    place: str, rows: int, pool: Mapping[str, Any], rename: tuple[tuple[str, str], ...]
) -> None:
    sizes = Counter({label: len(texts) for label, texts in pool.items()})
    found = ", ".join(f"{label}: {size}" for label, size in sizes.most_common(12))
    if not rows:
        raise ConfigError(f"{place}: no lines; give a file with one text and label a row")
    unknown = [new for _, new in rename if new not in sizes]
    if unknown:
        raise ConfigError(
            f"{place}: task.rename gives {', '.join(unknown)} to no line; found {found or 'none'}"
        )
    if len(sizes) < 2:
        raise ConfigError(f"{place}: one label only ({found}); the questions compare labels")
    if len(sizes) > 30:
        raise ConfigError(
            f"{place}: {len(sizes)} labels; use at most 30. Join them with task.rename, or name "
            "the right column with task.label_column"
        )
    if unreadable := [label for label in sizes if _UNREADABLE.search(label)]:
        raise ConfigError(
            f"{place}: the scorer cannot read the label {unreadable[0]!r} back from an answer (a "
            "colon, asterisk or square bracket); give it another name with task.rename"
        )
    cases = Counter(label.casefold() for label in sizes)
    if same := [label for label in sizes if cases[label.casefold()] > 1]:
        raise ConfigError(
            f"{place}: {', '.join(same)} are one label in different letter cases; join them with "
            "task.rename"
        )
    few = [label for label, size in sizes.items() if size < FEWEST_LINES]
    if few:
        raise ConfigError(
            f"{place}: fewer than {FEWEST_LINES} different lines of {', '.join(few)} (found "
            f"{found}); give more, or leave the label out with task.rename"
        )


def _file_rows(path: str, named: tuple[str, ...] | None, label: str) -> Iterator[Mapping[str, Any]]:
    file = Path(path)
    kind = file.suffix.lower()
    if kind not in (".tsv", ".csv"):
        if named:
            raise ConfigError(f"task.columns names those of a CSV or TSV file, not of {path}")
        yield from with_names(file, label)
    elif kind == ".tsv":
        yield from table_rows(file, "\t", named, quoted=False)  # quotes are part of the texts
    else:
        yield from table_rows(file, ",", named)
