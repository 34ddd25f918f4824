"""Hub data of a task: rows of a split, or a file; read once and cached.

Files that can hold the wanted rows are downloaded (`hub_client`); the rows that a task needs are
cached, their long texts by content. The meaning of a row is elsewhere.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, Protocol

import orjson

from rlm_eval.core import hub_client
from rlm_eval.core.errors import ConfigError, MissingDependency
from rlm_eval.core.fetch import alone
from rlm_eval.core.hub_client import Listing, RemoteFile
from rlm_eval.core.messages import warn
from rlm_eval.core.paths import cache_dir, write_atomic
from rlm_eval.core.types import text_hash
from rlm_eval.tasks.base import _context_path, _keep, _Stored
from rlm_eval.tasks.hub_splits import split_files
from rlm_eval.tasks.rows import Condition, class_names, file_rows, matching_groups, whole

_LONG = 4096
"""Minimum characters of a text that is stored once, by content."""
_INSTEAD = (
    "or set {} to a local file with the same columns, or use the generated task of the same shape"
)


class Source(Protocol):
    """Hub data that a task needs."""

    @property
    def revision(self) -> str:
        """A commit, a branch or a tag."""
        ...

    @property
    def label(self) -> str:
        """Repository, commit and part."""
        ...

    @property
    def key(self) -> str:
        """Identity of the source, including its full commit hash."""
        ...

    def files(self) -> tuple[Listing, list[RemoteFile]]:
        """The files that hold it. Queries the hub where they have not been listed before."""
        ...

    def at_hand(self) -> bool:
        """True where no further request to the hub is needed."""
        ...

    def fetch(self) -> None:
        """Download the missing files."""
        ...


@dataclass(frozen=True)
class HubFile:
    """One file of a repository."""

    repository: str
    revision: str
    path: str
    field: str = "task.path"
    """The setting that names a local file instead."""

    @property
    def label(self) -> str:
        """See `Source`."""
        return f"{self.repository}@{self.revision[:12]} ({self.path})"

    @property
    def key(self) -> str:
        """See `Source`."""
        return f"{_full(self)}/{self.path}"

    def files(self) -> tuple[Listing, list[RemoteFile]]:
        """See `Source`. Raises `MissingDependency` where the repository has no such file."""
        of = hub_client.listing(self.repository, self.revision)
        found = [file for file in of.files if file.path == self.path]
        if not found:
            raise MissingDependency(f"{of} has no file {self.path}")
        return of, found

    def at_hand(self) -> bool:
        """See `Source`."""
        return not _missing(self)

    def fetch(self) -> None:
        """See `Source`."""
        self.local()

    def local(self) -> Path:
        """Path of the file on this machine. Raises `MissingDependency` with the alternatives."""
        with hub_client.reaching(self.label, _INSTEAD.format(self.field)):
            return hub_client.fetched(*self.files())[0]


@dataclass(frozen=True)
class HubRows:
    """The rows of one split that meet conditions, with selected columns."""

    repository: str
    revision: str
    split: str
    config: str | None = None
    """Configuration of the data set; `None` = its default."""
    columns: tuple[str, ...] = ()
    """Empty = all."""
    where: tuple[Condition, ...] = ()
    names: str = "*"
    """Pattern for the names of the files that can hold the rows; ignored where no file of the split
    matches."""
    field: str = "task.path"
    """The setting that names a local file instead."""
    as_files: bool = False
    """Read whole files (`local`): no rows are cached."""

    @property
    def label(self) -> str:
        """See `Source`."""
        part = f"{self.config}, {self.split}" if self.config else self.split
        return f"{self.repository}@{self.revision[:12]} ({part})"

    @property
    def key(self) -> str:
        """See `Source`."""
        return f"{_full(self)}/{self._key}"

    def files(self) -> tuple[Listing, list[RemoteFile]]:
        """See `Source`.

        Parquet files whose statistics exclude the wanted rows are skipped; only their footers are
        read."""
        of = hub_client.listing(self.repository, self.revision)
        found = split_files(of, self.config, self.split)
        named = [file for file in found if fnmatch(file.path.rpartition("/")[2], self.names)]
        return of, self._possible(of, named or found)

    def _possible(self, of: Listing, files: list[RemoteFile]) -> list[RemoteFile]:
        if len(files) < 2 or not self.where:
            return files
        facts = [self.split, self.config, self.where, self.names]  # independent of the columns
        key = text_hash(json.dumps(facts, sort_keys=True))[:16]
        kept = self._folder / f"{key}.files.json"
        if kept.is_file():
            names = set(orjson.loads(kept.read_bytes()))
            return [file for file in files if file.path in names]
        possible = [file for file in files if self._may_hold(of, file)] or files[:1]
        write_atomic(kept, orjson.dumps([file.path for file in possible]))
        return possible

    def _may_hold(self, of: Listing, file: RemoteFile) -> bool:
        if not file.path.endswith(".parquet"):
            return True
        import pyarrow as pa
        import pyarrow.parquet as pq

        local = hub_client.at_hand(of, file.path)
        try:
            footer = local or pa.BufferReader(hub_client.parquet_footer(of, file))
            return bool(matching_groups(pq.read_metadata(footer), self.where))
        except pa.ArrowInvalid:  # no range requests, or an unknown footer form
            return True

    @property
    def _key(self) -> str:
        facts = [self.split, self.config, self.columns, self.where, self.names, _LONG]
        return text_hash(json.dumps(facts, sort_keys=True))[:16]

    @property
    def _folder(self) -> Path:
        return cache_dir() / "rows" / _full(self).replace("/", "--")

    def at_hand(self) -> bool:
        """See `Source`."""
        with suppress(MissingDependency), hub_client.closed():
            return _is_whole(self._folder / f"{self._key}.jsonl") or not _missing(self)
        return False

    def fetch(self) -> None:
        """See `Source`. The rows are cached too: the files are not needed afterwards."""
        if self.as_files:
            self.local()
        else:
            self._kept()

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yield the rows in the data set's order, from the cache.

        Raises `MissingDependency` with the alternatives where they are unavailable, `ConfigError`
        for a column that the data set lacks.
        """
        last: dict[str, tuple[str, Any]] = {}  # rows of one window are consecutive
        with self._kept().open("rb") as lines:
            for line in lines:
                row, texts = orjson.loads(line)
                for name, hashed in texts.items():
                    if last.get(name, ("", None))[0] != hashed:
                        last[name] = hashed, _Stored(hashed, documents=False)()
                    row[name] = last[name][1]
                yield row

    def _kept(self) -> Path:
        """Path of the cached rows. One process writes it, others wait for it."""
        with hub_client.reaching(self.label, _INSTEAD.format(self.field)):
            path = self._folder / f"{self._key}.jsonl"
            if not _is_whole(path):
                path.parent.mkdir(parents=True, exist_ok=True)
                with alone(path.with_suffix(".lock")):
                    if not _is_whole(path):
                        self._keep(path)
        return path

    def _keep(self, path: Path) -> None:
        lines = []
        for file in hub_client.fetched(*self.files()):
            for row in file_rows(file, self.where, self.columns):
                texts = {}
                for name, value in row.items():
                    if isinstance(value, str) and len(value) >= _LONG:
                        texts[name] = text_hash(value)
                        _keep(_context_path(texts[name]), value)
                lines.append(orjson.dumps([{**row, **dict.fromkeys(texts)}, texts]))
        write_atomic(path, b"".join(line + b"\n" for line in lines))

    def local(self) -> list[Path]:
        """Paths of the split's files on this machine, for readers of whole files."""
        with hub_client.reaching(self.label, _INSTEAD.format(self.field)):
            return hub_client.fetched(*self.files())


def labelled_rows(source: HubRows, label: str) -> Iterator[dict[str, Any]]:
    """Yield all rows, with the label column's names in place of class numbers.

    Raises `MissingDependency` with the alternatives where they are unavailable.
    """
    for path in source.local():
        yield from with_names(path, label)


def with_names(path: Path, label: str) -> Iterator[dict[str, Any]]:
    """Rows of one file, with class names instead of numbers where its metadata has them.

    A row without a label has the class number -1: it is left out, with a message. Raises
    `ConfigError` for another number that no class has.
    """
    names = class_names(path, label)
    unlabelled = 0
    for place, row in enumerate(file_rows(path), 1):
        number = whole(row.get(label))
        if names is None or number is None:
            yield row
        elif number == -1:
            unlabelled += 1
        elif isinstance(number, int) and 0 <= number < len(names):
            yield {**row, label: names[number]}
        else:
            raise ConfigError(
                f"{path}, row {place}: {label} is {number!r:.60}, and its {len(names)} classes are "
                f"numbered from 0 ({', '.join(map(str, names[:5]))}); mend the number, or remove "
                "the row"
            )
    if unlabelled:
        warn(f"{path}: {unlabelled} rows without a label (class number -1) are left out")


def _full(source: HubFile | HubRows) -> str:
    """Repository and full commit hash. Raises `MissingDependency` where a hub request is needed."""
    with hub_client.reaching(source.label, _INSTEAD.format(source.field)):
        full = hub_client.full_revision(source.repository, source.revision)
    return f"{source.repository}@{full}"


def _missing(source: HubFile | HubRows) -> bool:
    """True where a file has not been downloaded, or the list of files is unknown."""
    with suppress(MissingDependency), hub_client.closed():
        of, files = source.files()
        return bool(hub_client.missing(of, files))
    return True


def _is_whole(path: Path) -> bool:
    """True where the cached rows exist with all their texts: parts of a cache may be deleted."""
    if not path.is_file():
        return False
    with path.open("rb") as lines:
        named = {hashed for line in lines for hashed in orjson.loads(line)[1].values()}
    return all(_context_path(hashed).exists() for hashed in named)


def hub_or_file(
    path: str | None, source: HubRows, needs: Sequence[str] = (), nullable: Sequence[str] = ()
) -> Iterator[dict[str, Any]]:
    """Yield the rows of `source`: from a local file with its columns where one is set.

    Raises `ConfigError` where a row of that file lacks a column of `needs`, otherwise of the
    source's, or has none in one that is not `nullable`.
    """
    if path is None:
        return source.rows()
    needed = needs or source.columns
    return with_columns(path, file_rows(path, source.where), needed, nullable)


def with_columns(
    path: str,
    rows: Iterator[dict[str, Any]],
    needs: Sequence[str],
    nullable: Sequence[str] = (),
) -> Iterator[dict[str, Any]]:
    """The rows of a user's file. Raises `ConfigError` where a required column is missing or null.

    A null would become the text "None": as a context, a choice or a gold.
    """
    for number, row in enumerate(rows, 1):
        if lacking := [name for name in needs if name not in row]:
            raise ConfigError(
                f"{path}: a row has no column {', '.join(lacking)}; it has {', '.join(row)}. The "
                "file needs the columns of the data set that it stands for"
            )
        if null := [name for name in needs if row[name] is None and name not in nullable]:
            raise ConfigError(
                f"{path}: row {number} of those that the task reads has null for "
                f"{', '.join(null)}; give the values, or remove the row"
            )
        yield row
