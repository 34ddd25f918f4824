"""Decide from a run of this suite whether `rlm/general` becomes the default prompt of `rlm`.

    python benchmarks/recursion_prompt_selection/decide.py [RUN]

RUN is a run directory or a published folder (default: results/runs/recursion_prompt_selection).
Prints a Markdown table, one row per criterion, and the decision. Every criterion counts at its
point estimate; the intervals show how certain the decision is. A share that no missing sample can
bring to its limit is missed already, and decides. The exit code is 0 for a decision, 1 where the
run permits none (scripted replies, other cells than the plan's, missing samples), and 2 for a
folder without records.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from rlm_eval.core.errors import RlmEvalError
from rlm_eval.records.record import load_records
from rlm_eval.report import summary
from rlm_eval.report.tables import card, comparison
from rlm_eval.stats.intervals import mean_interval
from rlm_eval.suites.plan import cells_of
from rlm_eval.suites.schema import Suite, load

NAME = "recursion_prompt_selection"
GENERAL = "rlm_general"
_SLACK = 1e-9  # a mean of scores that equals the limit must not miss it by rounding


@dataclass(frozen=True)
class Criterion:
    """A limit on one number of the general prompt."""

    part: str
    """Part of suite.yaml."""
    rule: str
    """The criterion in words."""
    against: str = ""
    """Method that the scores are compared with; empty = the share of samples with sub-calls."""
    least: float = 0.0
    """Lowest permitted value; differences in [-1, 1], shares in [0, 1]."""
    most: float = 1.0
    """Highest permitted value."""


CRITERIA = (
    Criterion("labels", "at least 80 % of the label samples recurse", least=0.8),
    Criterion("needles", "at most 20 % of the needle samples recurse", most=0.2),
    Criterion("labels", "label score at most 10 points below rlm/read", "rlm_read", -0.1),
    Criterion("needles", "needle score at most 10 points below rlm/search", "rlm_search", -0.1),
)
"""Fixed before the first call. All four must be met."""


@dataclass(frozen=True)
class Finding:
    """What a run says about a criterion."""

    criterion: Criterion
    value: float
    """The share or the difference over the samples that are there; NaN without any."""
    low: float
    high: float
    """Ends of its 95 % interval."""
    n: int
    """Samples, or pairs of samples."""
    expected: int
    """Samples of the plan."""

    @property
    def met(self) -> bool | None:
        """Whether the value is permitted; `None` where the missing samples could change that.

        Of a share all values that it can still take are known, of a difference none.
        """
        one, missing = self.criterion, self.expected - self.n
        if missing and (one.against or not self.n):
            return None
        hits = self.value * self.n
        lowest, highest = hits / self.expected, (hits + missing) / self.expected
        if not missing:
            lowest = highest = self.value
        if one.least - _SLACK <= lowest and highest <= one.most + _SLACK:
            return True
        return None if highest >= one.least - _SLACK and lowest <= one.most + _SLACK else False


def planned(suite: Suite) -> dict[tuple[str, str], frozenset[str]]:
    """(part, method) -> identities of its cells, as suite.yaml configures them."""
    found: dict[tuple[str, str], set[str]] = {}
    for place in cells_of(suite, [])[2]:
        found.setdefault((place.part, place.method), set()).add(place.cell)
    return {key: frozenset(cells) for key, cells in found.items()}


def findings(
    frame: pd.DataFrame, suite: Suite, cells: Mapping[tuple[str, str], frozenset[str]]
) -> list[Finding]:
    """Evaluate the criteria on a prepared frame; `cells` as returned by `planned`.

    Only the planned samples count: the first n of each cell, without repeats.
    """
    found = []
    for one in CRITERIA:
        [part] = (part for part in suite.parts if part.name == one.part)
        own = frame[(frame["index"] < part.n) & (frame["epoch"] == 0)]
        general = own[own["cell_id"].isin(cells[one.part, GENERAL])]
        special = own[own["cell_id"].isin(cells.get((one.part, one.against), ()))]
        measured = _difference(general, special) if one.against else _share(general)
        found.append(Finding(one, *measured, expected=part.n * len(part.tasks)))
    return found


def _share(samples: pd.DataFrame) -> tuple[float, float, float, int]:
    """Share of the scored samples that made a sub-call: (value, low, high, n)."""
    scored = samples[samples["score"].notna()]
    found = mean_interval(scored["used_recursion"].astype(float), scored["cluster"])
    return found.estimate, found.low, found.high, found.n


def _difference(general: pd.DataFrame, special: pd.DataFrame) -> tuple[float, float, float, int]:
    """Score of the general minus the special prompt, paired by sample: (value, low, high, n)."""
    found = None if general.empty or special.empty else comparison.whole(general, special)
    if found is None:
        return math.nan, math.nan, math.nan, 0
    return found["difference"], found["low"], found["high"], int(found["n"])


def decision(found: Sequence[Finding], scripted: bool) -> tuple[str, bool]:
    """Return the decision in words, and whether there is one."""
    if scripted:
        return "no decision: scripted replies are not results", False
    if any(one.met is False for one in found):  # one is enough, whatever is missing
        return (
            "decision: rlm/search stays the default; rlm/read and rlm/general are named choices",
            True,
        )
    if any(one.met is None for one in found):
        return "no decision: samples of the plan are missing; run the suite again to resume", False
    return "decision: rlm/general becomes the default prompt of rlm", True


def table(found: Sequence[Finding]) -> str:
    """Format the findings as Markdown, in percent or percentage points."""
    lines = ["| criterion | measured | 95 % interval | samples | met |", "|---|---|---|---|---|"]
    words = {True: "yes", False: "no", None: "not known"}
    for one in found:
        signed = "+" if one.criterion.against else ""
        numbers = [f"{100 * x:{signed}.1f}" for x in (one.value, one.low, one.high)]
        measured, low, high = numbers if one.n else ["--"] * 3
        cells = (one.criterion.rule, measured, f"{low} to {high}", f"{one.n} of {one.expected}")
        lines.append(f"| {' | '.join(cells)} | {words[one.met]} |")
    return "\n".join(lines)


def main(arguments: Sequence[str]) -> int:
    """Print the table and the decision."""
    run = Path(arguments[0]) if arguments else Path("results/runs") / NAME
    suite = load(NAME)
    try:
        frame = summary.prepare(load_records([run]), card.manifests([run]))
    except RlmEvalError as error:
        print(error, file=sys.stderr)
        return 2
    found = findings(frame, suite, planned(suite))
    told, decided = decision(found, bool(frame["scripted"].any()))
    print(f"{table(found)}\n\n{told}")
    return 0 if decided else 1


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
