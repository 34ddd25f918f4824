"""Statistical power of a planned run: pairs, independent units and tests, before any call."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from rlm_eval.config.cell import Cell
from rlm_eval.core.errors import MissingDependency
from rlm_eval.core.hub_client import closed
from rlm_eval.stats.power import CORRELATION, LARGE, detectable_planned, least_detectable
from rlm_eval.tasks import Task, most_clusters, per_cluster, single_question
from rlm_eval.tasks.hub import LoadedTask

_SHARE = 0.3
"""Assumed share of discordant pairs, for the number in a table."""
_MOST = 2_000
"""Upper limit, in clusters, of the search for a sufficient n."""


@dataclass(frozen=True)
class Design:
    """The design of one comparison: pairs of a task at a length."""

    task: Task
    length: int
    """Nominal tokens."""
    n: int
    """Pairs: samples, over all seeds."""
    clusters: int
    """Independent units: samples that share a context are one."""
    tests: int
    """Comparisons of the whole plan, the family of the Holm correction."""
    seeds: int = 1
    """Cells (seeds) of one series; `n` is their sum."""

    @property
    def alpha(self) -> float:
        """Level of Holm's first step, which decides whether any difference is significant."""
        return 0.05 / max(1, self.tests)

    @property
    def least(self) -> float:
        """Smallest difference that can be significant in the best case; NaN = none."""
        return least_detectable(self.n, self.clusters, alpha=self.alpha)

    @property
    def shows_little(self) -> bool:
        """True if not even a large difference can be significant."""
        return not self.least <= LARGE

    def line(self) -> str:
        """Return a line for `estimate` and `power`."""
        about = f"design: {self._place}: {self._size}; {_level(self.tests)}"
        if math.isnan(self.least):
            return f"{about}: no difference can be shown; {self.mend()}"
        usual = detectable_planned(self.n, self.clusters, _SHARE, alpha=self.alpha)
        told = f"{about}: {100 * self.least:.0f} pp at best"
        if math.isnan(usual):
            told += f", none where {_SHARE:.0%} of the pairs differ"
        else:
            told += f", {100 * usual:.0f} pp where {_SHARE:.0%} of the pairs differ"
        if self.clusters < self.n:
            told += f" (correlation within a context assumed {CORRELATION:g})"
        return f"{told}; {self.mend()}" if self.shows_little else told

    def warning(self) -> str:
        """Return the warning to print before any spending."""
        shown = "can show no difference"
        if not math.isnan(self.least):
            shown = f"can show no difference under {100 * self.least:.0f} pp"
        return f"warning: {self._place}: {self._size} {shown} ({_level(self.tests)}); {self.mend()}"

    def mend(self) -> str:
        """Return the setting that makes a large difference detectable."""
        each = math.ceil(self.n / self.clusters)
        most = most_clusters(self.task)
        for clusters in range(2, _MOST if most is None else most + 1):
            found = least_detectable(clusters * each, clusters, alpha=self.alpha)
            if found <= LARGE:
                told = f"set n={math.ceil(clusters * each / self.seeds)}"
                field = single_question(self.task)
                if each > 1 and field:
                    lone = next(
                        (k for k in range(2, _MOST)
                         if least_detectable(k, k, alpha=self.alpha) <= LARGE), clusters,
                    )  # fmt: skip
                    told += f", or {field}=1 n={math.ceil(lone / self.seeds)}"
                return told
        if most is not None:
            wider = getattr(self.task, "wider", "")
            return (
                f"the data have about {most} context{'s' * (most > 1)} at a length: "
                f"{f'set {wider}, ' if wider else ''}compare over several lengths, or use the "
                "generated task of the same shape"
            )
        return "compare fewer methods, models and lengths in one run"

    @property
    def _place(self) -> str:
        sized = hasattr(self.task, "length")
        return f"{self.task.name} at {self.length:,}" if sized else self.task.name

    @property
    def _size(self) -> str:
        if self.clusters < self.n:
            return f"{self.n} samples in {self.clusters} context{'s' * (self.clusters > 1)}"
        return f"{self.n} sample{'s' * (self.n > 1)}"


def _level(tests: int) -> str:
    return f"{tests} tests, after Holm" if tests > 1 else "one test"


def designs_of(cells: Sequence[Cell], tests: int | None = None) -> list[Design]:
    """Return a design per task and length. `tests`: number named beforehand; default all vs one."""
    groups: dict[tuple[str, int], list[Cell]] = {}
    for cell in cells:
        groups.setdefault((cell.task.name, cell.length), []).append(cell)
    series = {key: len({_series(cell) for cell in own}) for key, own in groups.items()}
    if tests is None:
        tests = sum(count - 1 for count in series.values())
    found = []
    for own in groups.values():
        first = own[0]
        seeds = len({cell.seed for cell in own})
        n, clusters = _units(first)
        found.append(Design(first.task, first.length, n * seeds, clusters * seeds, tests, seeds))
    return found


def _series(cell: Cell) -> tuple[object, ...]:
    """Return the key of a compared series: everything but task, length and seed."""
    models = tuple(sorted((slot, repr(model)) for slot, model in cell.models.items()))
    return repr(cell.method), models, repr(cell.limits)


def _units(cell: Cell) -> tuple[int, int]:
    """Return (samples, clusters) of a cell."""
    if counted := _counted(cell.task):
        return counted
    clusters = math.ceil(cell.n / per_cluster(cell.task))
    most = most_clusters(cell.task)
    if most is not None:
        return min(cell.n, most * per_cluster(cell.task)), min(clusters, most)
    return cell.n, clusters


def _counted(task: Task) -> tuple[int, int] | None:
    """Count (samples, clusters) if a local file determines them; else `None`."""
    if not isinstance(task, LoadedTask) or task.path is None:
        return None
    if most_clusters(task) is None and not getattr(task, "clusters_in_data", False):
        return None
    try:
        with closed():
            clusters = [sample.cluster for sample in task.samples()]
    except MissingDependency:
        return None
    return (len(clusters), len(set(clusters))) if clusters else None
