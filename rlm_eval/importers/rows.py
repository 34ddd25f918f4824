"""The row that every reader yields: one sample of one method, with the values of the foreign log.

Plain values without inference. `assemble` turns rows into samples, cells and outcomes.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rlm_eval.core.errors import RlmEvalError
from rlm_eval.core.types import Call, Outcome, Score, Step, Totals

LARGEST = 2_000_000_000
"""Maximum bytes of one file after unpacking."""
_PACKED = {
    b"PK\x03\x04": "a ZIP archive or a spreadsheet: unpack it, or save the table as CSV",
    b"BZh": "packed by bzip2: unpack it",
    b"\xfd7zXZ": "packed by xz: unpack it",
    b"\x28\xb5\x2f\xfd": "packed by zstd: unpack it",
    b"PAR1": "Parquet: save the table as CSV or JSON lines",
}
"""First bytes of a file that is not text -> what it is, and the next step."""


class BadLog(RlmEvalError):
    """Raised for a file that cannot be imported; names the file, the place and the next step."""


@dataclass(frozen=True)
class Source:
    """One file of a foreign log, read whole."""

    path: Path
    """Path of the file."""
    data: bytes
    """Content, decompressed if it was gzip."""
    sha256: str
    """SHA-256 of the file on disk, hexadecimal."""
    name: str
    """Its path below the folder that was given, with more of the folders above where two files of
    an import would have one name; `/` between the parts."""

    def text(self) -> str:
        """Decode the content. Raises `BadLog` if it is not UTF-8."""
        for mark, words in _PACKED.items():
            if self.data.startswith(mark):
                raise BadLog(f"{self.path}: {words} (gzip is read as it is)")
        try:
            return self.data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise BadLog(
                f"{self.path}: not UTF-8 text (byte {error.start}); convert it, e.g. with iconv"
            ) from error


@dataclass(frozen=True)
class Row:
    """One sample of one method and repeat."""

    place: str
    """Position in the file, for messages: `line 3`, `row 7`."""
    sha256: str
    """SHA-256 of its file."""
    task: str
    """Task name in the log."""
    method: str
    """Method name in the log."""
    root: str = ""
    """Root model; empty = not in the log."""
    sub: str | None = None
    """Sub-model; `None` = none, or not in the log."""
    task_variant: str | None = None
    """Distinguishing settings of the task, e.g. `labelled`."""
    variant: str | None = None
    """Distinguishing settings of the method."""
    depth_limit: int | None = None
    """Configured recursion depth."""
    length: int | None = None
    """Nominal context length, tokens."""
    item: str | None = None
    """Id of the question in the log."""
    question: str | None = None
    """The question's text; `None` = not in the log."""
    context: str | tuple[str, ...] | None = None
    """The context's text; `None` = not in the log."""
    context_id: str | None = None
    """The log's id of the context: rows with the same id share one context."""
    context_hash: str | None = None
    """`text_hash` of the context, for a log with the hash but without the text."""
    context_chars: int | None = None
    """Length of the context in characters."""
    context_tokens: int | None = None
    """The log's token count of the context, by `tokenizer`."""
    tokenizer: str | None = None
    """Name of the tokenizer; `None` = not in the log: the token count is only a note."""
    cluster: str | None = None
    """Rows with the same value are one independent unit; default: the context, else the sample."""
    gold: Any = None
    """Gold answer; `None` = not in the log."""
    answer: str | None = None
    """The answer's text; `None` = no answer."""
    provenance: str = "imported"
    """Origin of the answer, as `Answer.provenance`; `imported` = unknown."""
    outcome: Outcome = Outcome.OK
    """Outcome, as far as the log records it."""
    error: str | None = None
    """Error text of the log."""
    scores: tuple[Score, ...] = ()
    """Verdicts in the log."""
    their_scorer: str | None = None
    """Name of the log's scorer whose verdict is `theirs`; `None` = unknown, or no verdict."""
    scorer: str | None = None
    """Our scorer for rescoring the answer; `None` = none fits."""
    answer_type: str | None = None
    """Answer type that our scorers need besides gold and answer."""
    repeat: str | None = None
    """Id of a repeat of one sample; rows of one sample with the same value are duplicates."""
    seconds: float | None = None
    """Wall-clock seconds from start to end."""
    totals: Totals | None = None
    """Total usage; `None` if `calls` has every call."""
    calls: tuple[Call, ...] = ()
    """Model calls, with prompts as literal text."""
    steps: tuple[Step, ...] = ()
    """Executed code blocks."""
    evidence: tuple[tuple[int, int], ...] = ()
    """Character spans (start, end) of the context that contain the answer."""
    notes: dict[str, Any] = field(default_factory=dict)
    """Scalars in the log about the sample, e.g. `their_cost`."""
    meta: dict[str, Any] = field(default_factory=dict)
    """Scalars in the log about the question."""
    timestamp: str | None = None
    """Time of the run, in the log's notation."""
    task_settings: Mapping[str, Any] | None = None
    """Settings of its log that change what the task asks; they set variants apart where the logs
    of one task differ. Rows of one log share one object."""
    method_settings: Mapping[str, Any] | None = None
    """As `task_settings`, of the method."""
    lacking: str | None = None
    """What its file lacks, by its own header: a sentence for readers."""
    sample_id: str | None = None
    """Sample id to keep, from a log written by our own export."""
    facts: dict[str, Any] = field(default_factory=dict)
    """Facts of the cell, from a log written by our own export."""


@dataclass(frozen=True)
class Options:
    """The user's options of an import."""

    map: Path | None = None
    """The user's field map (kind `rows`)."""
    golds: Path | None = None
    """Gold answers for logs without them: JSON, `{file name or stem: gold}` or a list."""
    task: str | None = None
    """Name of the task, for logs without one."""
    method: str | None = None
    """Name of the method, for logs without one."""
    their_scorer: str | None = None
    """The log's scorer whose verdict becomes `theirs`; `None` = each log's own headline."""
    told: list[str] = field(default_factory=list)
    """Messages for the user, which the reader appends."""

    @property
    def given(self) -> frozenset[str]:
        """Fields of a row that have a value here."""
        return frozenset(name for name in ("task", "method") if getattr(self, name))


SUFFIXES = (".json", ".jsonl", ".ndjson", ".csv", ".tsv", ".eval")


def sources(
    paths: Sequence[Path], suffixes: Sequence[str] = SUFFIXES, *, by_name: bool = False
) -> Iterator[Source]:
    """Yield the files, and those in folders with these suffixes, each read once.

    Files of a folder come in the order of their names, numbers by value: `log_2` before `log_10`.
    `by_name`: rows depend on their file's name, so files of equal content differ. Raises `BadLog`
    for a path that does not exist, cannot be read, is empty, or was given twice.
    """
    files: list[Path] = []
    parts: list[int] = []
    """Number of parts of each file's path below what was given."""
    for path in paths:
        if not path.is_dir():
            files.append(path)
            parts.append(1)
            continue
        below = (p.relative_to(path) for p in path.rglob("*") if p.is_file() and _ends(p, suffixes))
        inside = sorted(below, key=_natural)
        if not inside:
            raise BadLog(f"{path}: no file in this folder ends in {', '.join(suffixes)}")
        files += [path / one for one in inside]
        parts += [len(one.parts) for one in inside]
    seen: dict[str, int] = {}
    for number, (path, name) in enumerate(zip(files, _names(files, parts), strict=True)):
        source = _read(path, name)
        marks = [os.path.abspath(path)]  # noqa: PTH100 - a link has a name of its own
        if not by_name:
            marks.append(hashlib.sha256(source.data).hexdigest())  # packed or not
        first = min(seen.setdefault(mark, number) for mark in marks)
        if first != number:
            raise BadLog(f"{path}: the same content as {files[first]}; name each file once")
        yield source


def _natural(path: Path) -> tuple[list[list[str | int]], tuple[str, ...]]:
    """Return a key that sorts numbers in names by their value."""
    # Every second piece is a number, so that equal positions compare.
    pieces = [
        [int(one) if at % 2 else one for at, one in enumerate(re.split(r"([0-9]+)", part))]
        for part in path.parts
    ]
    return pieces, path.parts


def _names(files: Sequence[Path], parts: Sequence[int]) -> list[str]:
    """Return the last `parts` of each path, or as many as tell apart those that share a name."""
    whole = [Path(os.path.abspath(path)).parts for path in files]  # noqa: PTH100 - no links followed
    count = list(parts)
    while True:
        names = ["/".join(path[-n:]) for path, n in zip(whole, count, strict=True)]
        often = Counter(names)
        short = [
            i for i, name in enumerate(names) if often[name] > 1 and count[i] < len(whole[i]) - 1
        ]
        if not short:
            return names
        for i in short:
            count[i] += 1


def _ends(path: Path, suffixes: Sequence[str]) -> bool:
    name = path.name.lower().removesuffix(".gz")
    return name.endswith(tuple(suffixes))


def _read(path: Path, name: str) -> Source:
    try:
        size = path.stat().st_size
        raw = b"" if size > LARGEST else path.read_bytes()
    except OSError as error:
        raise BadLog(f"{path}: cannot be read ({error.strerror})") from error
    if size > LARGEST:
        raise BadLog(f"{path}: {size:,} bytes; split it: {LARGEST:,} are read at most")
    data = raw
    if raw[:2] == b"\x1f\x8b":
        try:
            with gzip.GzipFile(fileobj=io.BytesIO(raw)) as file:
                data = file.read(LARGEST + 1)
        except (OSError, EOFError, ValueError) as error:
            raise BadLog(f"{path}: damaged gzip ({error}); fetch it again") from error
        if len(data) > LARGEST:
            raise BadLog(f"{path}: unpacks to more than {LARGEST:,} bytes; split it")
    if not data.strip():
        raise BadLog(f"{path}: empty; there is nothing to import")
    return Source(path, data, hashlib.sha256(raw).hexdigest(), name)
