"""What a task needs of the hub: rows of a split, or a file; read once and kept.

The files that can hold the wanted rows are downloaded (`hub_client`); the rows that a task asks for
are kept in the cache folder, their long texts by content. Not here: what a row means.
"""

from __future__ import annotations

import json
import re
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
from rlm_eval.core.paths import cache_dir, write_atomic
from rlm_eval.core.types import text_hash
from rlm_eval.tasks.base import _context_path, _keep, _Stored
from rlm_eval.tasks.rows import Condition, class_names, file_rows, matching_groups

_LONG = 4096
"""Characters from which a text of a row is kept by its content, once."""
_DATA = (".parquet", ".jsonl", ".json", ".csv")
_INSTEAD = (
    "or set {} to a local file with the same columns, or use the generated task of the same shape"
)


class Source(Protocol):
    """What a task needs of the hub."""

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
        """What it is, by its full commit hash."""
        ...

    def files(self) -> tuple[Listing, list[RemoteFile]]:
        """The files that hold it. Asks the hub where they were not listed before."""
        ...

    def at_hand(self) -> bool:
        """True where nothing has to be asked of the hub any more."""
        ...

    def fetch(self) -> None:
        """Download what is missing."""
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
        """The file on this machine. Raises `MissingDependency` naming the ways out."""
        with hub_client.reaching(self.label, _INSTEAD.format(self.field)):
            return hub_client.fetched(*self.files())[0]


@dataclass(frozen=True)
class HubRows:
    """The rows of one split that meet conditions, with these columns."""

    repository: str
    revision: str
    split: str
    config: str | None = None
    """Configuration of the data set; `None` = its default."""
    columns: tuple[str, ...] = ()
    """Empty = all."""
    where: tuple[Condition, ...] = ()
    names: str = "*"
    """Pattern of the names of the files that can hold the rows, where the split's files have such
    names."""
    field: str = "task.path"
    """The setting that names a local file instead."""
    as_files: bool = False
    """Whole files are read (`local`): no rows are kept."""

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
        """See `Source`. Parquet files that cannot hold a wanted row, by their statistics, are left
        out: their footers are read alone."""
        of = hub_client.listing(self.repository, self.revision)
        found = split_files(of, self.config, self.split)
        named = [file for file in found if fnmatch(file.path.rpartition("/")[2], self.names)]
        return of, self._possible(of, named or found)

    def _possible(self, of: Listing, files: list[RemoteFile]) -> list[RemoteFile]:
        if len(files) < 2 or not self.where:
            return files
        facts = [self.split, self.config, self.where, self.names]  # whatever the columns
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
        except pa.ArrowInvalid:  # a server that sends no parts of files, or another form of footer
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
        """See `Source`. The rows are kept too: the files are not needed after it."""
        if self.as_files:
            self.local()
        else:
            self._kept()

    def rows(self) -> Iterator[dict[str, Any]]:
        """The rows in the data set's order, from the cache.

        Raises `MissingDependency` naming the ways out where they cannot be had, `ConfigError` for a
        column that the data set lacks.
        """
        last: dict[str, tuple[str, Any]] = {}  # rows of one window follow each other
        with self._kept().open("rb") as lines:
            for line in lines:
                row, texts = orjson.loads(line)
                for name, hashed in texts.items():
                    if last.get(name, ("", None))[0] != hashed:
                        last[name] = hashed, _Stored(hashed, documents=False)()
                    row[name] = last[name][1]
                yield row

    def _kept(self) -> Path:
        """The file of the kept rows. One process makes it, others wait for it."""
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
        """The split's files on this machine, for readers of whole files."""
        with hub_client.reaching(self.label, _INSTEAD.format(self.field)):
            return hub_client.fetched(*self.files())


def labelled_rows(source: HubRows, label: str) -> Iterator[dict[str, Any]]:
    """All rows, with the label column's names in place of class numbers.

    Raises `MissingDependency` naming the ways out where they cannot be had.
    """
    for path in source.local():
        yield from with_names(path, label)


def with_names(path: Path, label: str) -> Iterator[dict[str, Any]]:
    """Rows of one file, with names in place of class numbers where its metadata has them."""
    names = class_names(path, label)
    for row in file_rows(path):
        number = row.get(label)
        yield {**row, label: names[number]} if names and number is not None else row


def _full(source: HubFile | HubRows) -> str:
    """Repository and full commit hash. Raises `MissingDependency` where the hub has to be asked."""
    with hub_client.reaching(source.label, _INSTEAD.format(source.field)):
        full = hub_client.full_revision(source.repository, source.revision)
    return f"{source.repository}@{full}"


def _missing(source: HubFile | HubRows) -> bool:
    """True where a file of it was not downloaded, or it is not known which there are."""
    with suppress(MissingDependency), hub_client.closed():
        of, files = source.files()
        return bool(hub_client.missing(of, files))
    return True


def _is_whole(path: Path) -> bool:
    """True where the kept rows are there with all their texts: parts of a cache may be deleted."""
    if not path.is_file():
        return False
    with path.open("rb") as lines:
        named = {hashed for line in lines for hashed in orjson.loads(line)[1].values()}
    return all(_context_path(hashed).exists() for hashed in named)


def split_files(of: Listing, config: str | None, split: str) -> list[RemoteFile]:
    """The data files of a split: as the card says, else by the names of folders and files.

    Raises `MissingDependency` where no file fits, and where it is open which configuration is
    meant: rows of several are never joined.
    """
    data = [file for file in of.files if file.path.endswith(_DATA)]
    patterns = _patterns(of, config, split)
    found = [file for file in data if any(fnmatch(file.path, p) for p in patterns)]
    if not found:
        inside = [f for f in data if config in (None, "default") or config in _words(f.path)]
        found = [f for f in inside if split in _words(f.path)]
        if not found and split == "train":  # a data set without splits
            found = inside
        folders = {f.path.split("/")[0] for f in found if re.fullmatch(_CONVERTED, f.path)}
        if config is None and len(folders) > 1:
            raise _unknown_config(of, config, sorted(folders))
    if not found:
        named = ", ".join(file.path for file in data[:5]) or "no data file"
        part = f"configuration {config}, split {split}" if config else f"split {split}"
        raise MissingDependency(f"{of} has no file of {part} (it has {named})")
    return found


_CONVERTED = r"[^/]+/[^/]+/\d{4}\.parquet"
"""CONFIGURATION/SPLIT/NUMBER.parquet: paths of the hub's Parquet copies."""


def _unknown_config(of: Listing, config: str | None, known: Sequence[str]) -> MissingDependency:
    what = "has several configurations" if config is None else f"has no configuration {config}"
    return MissingDependency(f"{of} {what}; set task.config to one of {', '.join(known)}")


def _patterns(of: Listing, config: str | None, split: str) -> list[str]:
    named = {str(one.get("config_name", "default")): one for one in of.configs}
    marked = [name for name, one in named.items() if one.get("default") is True]
    chosen = config or ("default" if "default" in named else next(iter(marked or named), ""))
    if config not in (None, "default") and named and config not in named:
        raise _unknown_config(of, config, list(named))
    if config is None and len(named) > 1 and not marked and "default" not in named:
        raise _unknown_config(of, config, list(named))
    files = named.get(chosen, {}).get("data_files") or []
    if isinstance(files, str):
        files = [{"split": "train", "path": files}]
    found: list[str] = []
    for entry in files:
        if isinstance(entry, dict) and entry.get("split", "train") == split:
            paths = entry.get("path", [])
            found += [paths] if isinstance(paths, str) else list(paths)
    return [pattern.replace("**/", "*") for pattern in found]


def _words(path: str) -> set[str]:
    whole = path.rpartition(".")[0]
    return {
        word for part in whole.split("/") for word in (part, *part.replace("-", "_").split("_"))
    }


def hub_or_file(
    path: str | None, source: HubRows, needs: Sequence[str] = ()
) -> Iterator[dict[str, Any]]:
    """The rows of `source`: out of a local file with its columns where one is named.

    Raises `ConfigError` where a row of that file lacks a column of `needs`, else of the source's.
    """
    if path is None:
        return source.rows()
    return with_columns(path, file_rows(path, source.where), needs or source.columns)


def with_columns(
    path: str, rows: Iterator[dict[str, Any]], needs: Sequence[str]
) -> Iterator[dict[str, Any]]:
    """The rows of a user's file. Raises `ConfigError` where one lacks a column that is needed."""
    for row in rows:
        if lacking := [name for name in needs if name not in row]:
            raise ConfigError(
                f"{path}: a row has no column {', '.join(lacking)}; it has {', '.join(row)}. The "
                "file needs the columns of the data set that it stands for"
            )
        yield row
