"""Gold answers for logs without them: `--golds FILE`, by the files' names or in order."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rlm_eval.importers.rows import BadLog, Source

_SHOWN = 3
"""Number of pairs of file and gold that the user is shown."""


class Golds:
    """Gold answers, and which file took which."""

    def __init__(self, given: Mapping[str, Any] | Sequence[Any] | None) -> None:
        self._given = given
        self._taken: dict[str, Source] = {}
        """Gold's name -> file."""
        self._pairs: list[str] = []
        self._answers = 0
        """Answers in the files so far."""

    @classmethod
    def read(cls, path: Path | None) -> Golds:
        """Read a JSON file of golds; without one all golds are unknown. Raises `BadLog`."""
        if path is None:
            return cls(None)
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise BadLog(f"{path}: no gold answers ({error}); JSON: {{file name: gold}}") from error
        if not isinstance(found, dict | list):
            raise BadLog(f"{path}: gold answers are {{file name: gold}}, or a list in order")
        return cls(found)

    def of(self, source: Source, answers: int) -> list[Any]:
        """Return the golds of a file's answers: by its name (several answers: a list), or in order.

        Raises `BadLog` where golds and answers do not match, and where one name is that of two
        files.
        """
        before = self._answers
        self._answers += answers
        if self._given is None:
            return [None] * answers
        if isinstance(self._given, Mapping):
            found = self._named(self._given, source, answers)
        else:
            count = len(self._given)
            if self._answers > count:
                raise BadLog(f"--golds: {count} golds, but {source.name} has answer {count + 1}")
            found = list(self._given[before : self._answers])
        self._pairs += [f"{source.name}: {json.dumps(gold)[:60]}" for gold in found]
        return found

    def _named(self, given: Mapping[str, Any], source: Source, answers: int) -> list[Any]:
        names = _names(source)
        name = next((name for name in names if name in given), None)
        if name is None:
            stem = _without_endings(source.name)[-1]
            raise BadLog(f"--golds: nothing under {source.name} or {stem}")
        first = self._taken.setdefault(name, source)
        if first is not source:
            told = source.name if source.name != name else first.name
            raise BadLog(
                f"--golds: {name} names two files, {first.path} and {source.path}; name each by "
                f"its path, e.g. {told}"
            )
        found = given[name]
        if answers == 1:
            return found if isinstance(found, list) and len(found) == 1 else [found]
        if not isinstance(found, list) or len(found) != answers:
            told = f"{len(found)} golds" if isinstance(found, list) else "one gold"
            raise BadLog(f"--golds: {told} under {name}, but that file has {answers} answers")
        return found

    def told(self) -> list[str]:
        """Return the lines for the user, after the last file.

        Raises `BadLog` where golds in order are more than the answers.
        """
        if self._given is None:
            return []
        if not isinstance(self._given, Mapping) and self._answers < len(self._given):
            raise BadLog(
                f"--golds: {len(self._given)} golds in order, but the logs have {self._answers} "
                "answers"
            )
        more = f", and {len(self._pairs) - _SHOWN} more" if len(self._pairs) > _SHOWN else ""
        lines = [f"golds: {'; '.join(self._pairs[:_SHOWN])}{more}"]
        if isinstance(self._given, Mapping):
            unused = [name for name in self._given if name not in self._taken]
            if unused:
                shown = ", ".join(unused[:10]) + (", ..." if len(unused) > 10 else "")
                lines.append(f"{len(unused)} golds are of no file here: {shown}")
        return lines


def _names(source: Source) -> list[str]:
    """Return the names by which golds may mean a file, the longest first.

    The ends of its path, and these without the ending.
    """
    parts = Path(os.path.abspath(source.path)).parts[1:]  # noqa: PTH100 - no links followed
    ends = ["/".join(parts[at:]) for at in range(len(parts))]
    return [name for end in ends for name in dict.fromkeys((end, *_without_endings(end)))]


def _without_endings(name: str) -> tuple[str, ...]:
    folder, slash, last = name.rpartition("/")
    stems = (Path(last).stem, Path(last.removesuffix(".gz")).stem)
    return tuple(f"{folder}{slash}{stem}" for stem in stems)
