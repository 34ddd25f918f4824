"""What every reader yields: one sample of one method, as a foreign log has it.

Plain values; nothing is guessed here. `assemble` turns rows into samples, cells and outcomes.
"""

from __future__ import annotations

import gzip
import hashlib
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rlm_eval.core.errors import RlmEvalError
from rlm_eval.core.types import Call, Outcome, Score, Step, Totals

LARGEST = 2_000_000_000
"""Bytes of one file, unpacked, that are read."""


class BadLog(RlmEvalError):
    """A file that cannot be imported; the message names it, the place, and the next step."""


@dataclass(frozen=True)
class Source:
    """One file of a foreign log, read whole."""

    path: Path
    """Where it is."""
    data: bytes
    """Its content, unpacked where it was gzip."""
    sha256: str
    """SHA-256 of the file as it is on the disk, hexadecimal."""

    def text(self) -> str:
        """The content as text. Raises `BadLog` where it is not UTF-8."""
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
    """Where it stands, for messages: `line 3`, `row 7`."""
    sha256: str
    """Of its file."""
    task: str
    """Task as the log calls it."""
    method: str
    """Method as the log calls it."""
    root: str = ""
    """Root model; empty = the log does not say."""
    sub: str | None = None
    """Sub-model; `None` = none, or the log does not say."""
    task_variant: str | None = None
    """Settings of the task that set it apart, e.g. `labelled`."""
    variant: str | None = None
    """Settings of the method that set it apart."""
    depth_limit: int | None = None
    """Configured recursion depth."""
    length: int | None = None
    """Nominal context length, tokens."""
    item: str | None = None
    """Identity of the question in the log."""
    question: str | None = None
    """What was asked; `None` where the log has no text of it."""
    context: str | tuple[str, ...] | None = None
    """The context's text; `None` where the log has none."""
    context_id: str | None = None
    """The log's name for the context: rows that share it share one context."""
    context_hash: str | None = None
    """`text_hash` of the context, where the log has it and not the text."""
    context_chars: int | None = None
    """Characters of the context."""
    context_tokens: int | None = None
    """The log's own count, under `tokenizer`."""
    tokenizer: str | None = None
    """Its name; `None` = the log does not name it, and the count is only a note."""
    cluster: str | None = None
    """Rows with the same value are one independent unit; default: the context, else the sample."""
    gold: Any = None
    """Gold answer; `None` = not in the log."""
    answer: str | None = None
    """What came out."""
    provenance: str = "imported"
    """Where the answer came from, as `Answer.provenance`; `imported` = not known."""
    outcome: Outcome = Outcome.OK
    """How it ended, as far as the log says."""
    error: str | None = None
    """Its error text."""
    scores: tuple[Score, ...] = ()
    """Verdicts that the log states."""
    scorer: str | None = None
    """Scorer of ours that scores the answer again; `None` = none fits."""
    answer_type: str | None = None
    """What a scorer of ours needs besides gold and answer."""
    repeat: str | None = None
    """Tells repeats of one sample apart; rows of one sample with the same value are duplicates."""
    seconds: float | None = None
    """Start to end."""
    totals: Totals | None = None
    """Totals; `None` where `calls` has every call."""
    calls: tuple[Call, ...] = ()
    """Calls, prompts as literal text."""
    steps: tuple[Step, ...] = ()
    """Blocks."""
    evidence: tuple[tuple[int, int], ...] = ()
    """Character spans of the context that hold the answer."""
    notes: dict[str, Any] = field(default_factory=dict)
    """Scalars of the log about the sample, e.g. `their_cost`."""
    meta: dict[str, Any] = field(default_factory=dict)
    """Scalars of the log about the question."""
    timestamp: str | None = None
    """When it ran, as the log writes it."""
    sample_id: str | None = None
    """Id to keep, of a log that our own export wrote."""
    facts: dict[str, Any] = field(default_factory=dict)
    """Facts of the cell, of a log that our own export wrote."""


@dataclass(frozen=True)
class Options:
    """What the user said besides the files."""

    map: Path | None = None
    """A field map of the user's (kind `rows`)."""
    golds: Path | None = None
    """Gold answers of logs that have none: JSON, `{file name or stem: gold}` or a list."""
    task: str | None = None
    """Name of the task, where the log has none."""
    method: str | None = None
    """Name of the method, where the log has none."""


SUFFIXES = (".json", ".jsonl", ".ndjson", ".csv", ".tsv", ".eval")


def sources(paths: Sequence[Path], suffixes: Sequence[str] = SUFFIXES) -> Iterator[Source]:
    """The files, and those of folders below them by their endings, each read once.

    Raises `BadLog` for a path that is not there, cannot be read, is empty, or was named twice.
    """
    files: list[Path] = []
    for path in paths:
        if not path.is_dir():
            files.append(path)
            continue
        inside = sorted(p for p in path.rglob("*") if p.is_file() and _ends(p, suffixes))
        if not inside:
            raise BadLog(f"{path}: no file in this folder ends in {', '.join(suffixes)}")
        files += inside
    seen: dict[str, Path] = {}
    for path in files:
        source = _read(path)
        if (first := seen.setdefault(source.sha256, path)) != path or files.count(path) > 1:
            raise BadLog(f"{path}: the same content as {first}; name each file once")
        yield source


def _ends(path: Path, suffixes: Sequence[str]) -> bool:
    name = path.name.lower().removesuffix(".gz")
    return name.endswith(tuple(suffixes))


def _read(path: Path) -> Source:
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
    return Source(path, data, hashlib.sha256(raw).hexdigest())
