"""Which files of a hub's data set make a split: the card's patterns, otherwise names of files."""

from __future__ import annotations

import re
from collections.abc import Sequence
from fnmatch import fnmatch

from rlm_eval.core.errors import MissingDependency
from rlm_eval.core.hub_client import Listing, RemoteFile

_DATA = (".parquet", ".jsonl", ".json", ".csv")
_ABOUT = ("dataset_infos.json", "dataset_info.json", "metadata.json", "config.json", "state.json")
"""Files about the data: of older layouts, and of tools that save a data set."""
_NAMES = {
    "train": {"train", "training"},
    "validation": {"validation", "valid", "val", "dev"},
    "test": {"test", "testing", "eval", "evaluation"},
}
"""Split -> words in the names of its files, as the hub reads them."""
_CONVERTED = r"[^/]+/[^/]+/\d{4}\.parquet"
"""CONFIGURATION/SPLIT/NUMBER.parquet: paths of the hub's Parquet copies."""


def split_files(of: Listing, config: str | None, split: str) -> list[RemoteFile]:
    """The data files of a split: from the data set card, otherwise by folder and file names.

    Raises `MissingDependency` where no file matches, and where the configuration is ambiguous: rows
    of several configurations, or of other splits, are never mixed.
    """
    patterns = _patterns(of, config, split)
    data = [
        file
        for file in of.files
        if file.path.endswith(_DATA)
        and (file.path.rpartition("/")[2] not in _ABOUT or file.path in patterns)
    ]
    found = [file for file in data if any(_matches(file.path, p) for p in patterns)]
    if not found:
        inside = [f for f in data if config in (None, "default") or config in _words(f.path)]
        words = _NAMES.get(split, set())
        found = [f for f in inside if split in _words(f.path)]
        found = found or [f for f in inside if words & _letters(f.path)]
        if not found and split == "train":  # a data set without splits
            others = _NAMES["validation"] | _NAMES["test"]
            found = [f for f in inside if not others & _letters(f.path)]
        folders = {f.path.split("/")[0] for f in found if re.fullmatch(_CONVERTED, f.path)}
        if config is None and len(folders) > 1:
            raise _unknown_config(of, config, sorted(folders))
    if not found:
        named = ", ".join(file.path for file in data[:5]) or "no data file"
        part = f"configuration {config}, split {split}" if config else f"split {split}"
        raise MissingDependency(f"{of} has no file of {part} (it has {named})")
    return found


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
    of_split: dict[str, list[str]] = {}
    for entry in [files] if isinstance(files, str) else files:
        one = entry if isinstance(entry, dict) else {"path": entry}
        paths = one.get("path", [])
        listed = of_split.setdefault(str(one.get("split", "train")), [])
        listed += [paths] if isinstance(paths, str) else list(paths)
    if of_split and split not in of_split:
        raise MissingDependency(f"{of} has no split {split}; it has {', '.join(of_split)}")
    return of_split.get(split, [])


def _matches(path: str, pattern: str) -> bool:
    """True where a pattern of the card names a file: `*` stays within a folder, `**` does not."""
    return _in_parts(path.split("/"), pattern.removeprefix("./").split("/"))


def _in_parts(path: Sequence[str], pattern: Sequence[str]) -> bool:
    if not pattern:
        return not path
    if pattern[0] == "**":
        return any(_in_parts(path[i:], pattern[1:]) for i in range(len(path) + 1))
    return bool(path) and fnmatch(path[0], pattern[0]) and _in_parts(path[1:], pattern[1:])


def _words(path: str) -> set[str]:
    whole = path.rpartition(".")[0]
    return {
        word for part in whole.split("/") for word in (part, *part.replace("-", "_").split("_"))
    }


def _letters(path: str) -> set[str]:
    """The words of a path in lower case, apart from digits and signs: Test-2.v1 has "test"."""
    return set(re.findall("[a-z]+", path.lower()))
