"""The completion marker of a cell, `DONE`: what was requested, and how much of it exists.

    {"samples": 40, "epochs": 1, "n": 40}

`n` samples were requested; a data set may have fewer, and a shard has its part of them.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from rlm_eval.core.errors import RlmEvalError
from rlm_eval.storage.damage import read_mapping

MARKER = "DONE"


@dataclass(frozen=True, slots=True)
class Done:
    """Contents of the marker."""

    samples: int
    """Samples of the last run that finished the cell."""
    epochs: int
    """Repeats of each."""
    n: int
    """Samples that it requested."""

    @classmethod
    def of(cls, folder: Path) -> Done | None:
        """Read the marker of a cell; `None` where there is none.

        Nor where it cannot be read: then the cell counts as unfinished, and the same command
        writes it again.
        """
        try:
            counts = read_mapping(folder / MARKER)
            samples, epochs = int(counts["samples"]), int(counts["epochs"])
            return cls(samples, epochs, int(counts.get("n", samples)))
        except (OSError, RlmEvalError, KeyError, TypeError, ValueError):
            return None

    @property
    def results(self) -> int:
        """Number of results, repeats included."""
        return self.samples * self.epochs

    def requested(
        self, order: Sequence[str], results: Collection[tuple[str, int]]
    ) -> set[tuple[str, int]]:
        """Return the results, (sample id, epoch), that the last run requested.

        An interrupted run of a larger n leaves those that ended first: they are no random part of
        its samples, so they count only if every sample has ended in their epoch. `order`: the ids
        as stored, those of the last run first.
        """
        found, first = set(results), set(order[: self.samples])
        whole = {e for e in {e for _, e in found} if all((s, e) in found for s in order)}
        return {(s, e) for s, e in found if e in whole or (s in first and e < self.epochs)}


def covers(folder: Path, n: int, epochs: int) -> bool:
    """Return true where a cell, or a shard, is finished with `n` samples and `epochs` or more, or
    with all samples that its data set has.
    """
    if (done := Done.of(folder)) is None:
        return False
    has_no_more = done.samples < done.n and folder.parent.name == "cells"  # a shard has a part
    return (n <= done.n or has_no_more) and epochs <= done.epochs
