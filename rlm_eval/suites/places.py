"""Machine-independent text for published files: local folders replaced by their roles."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import orjson

from rlm_eval.core.paths import cache_dir
from rlm_eval.records import baselines

if TYPE_CHECKING:
    import pandas as pd

RUNS = Path("results/runs")
_PYTHON = re.compile(r"""/[^\s"':]*/bin/python[0-9.]*(?=["'\s]|$)""")
"""Path of an interpreter of another environment: the run may have been started elsewhere."""


class Anywhere:
    """Replaces folders of this machine in text."""

    def __init__(self, *runs: Path) -> None:
        manifests = [orjson.loads(path.read_bytes()) for run in runs for path in manifests_of(run)]
        made = {Path(manifest["config"]["results"]) for manifest in manifests}
        results = made.union(run.parent.absolute() for run in runs)
        places = {Path.cwd(): ".", Path.home(): "~", cache_dir(): "{cache}"}
        places[Path(sys.executable)] = (
            "python"  # occurs in the command of a server that the harness starts
        )
        places |= {place: str(RUNS) for place in results if place.is_absolute()}
        self._places = {str(place): word for place, word in places.items() if place != Path("/")}

    def told(self, text: str) -> str:
        """Return `text` without folders of this machine; the longest match first."""
        for place in sorted(self._places, key=len, reverse=True):
            text = text.replace(place, self._places[place])
        return _PYTHON.sub("python", text)


def manifests_of(run: Path) -> Iterator[Path]:
    return iter(sorted(run.glob("cells/*/manifest.json")))


def with_baselines(records: pd.DataFrame, run: Path) -> pd.DataFrame:
    """Add the scores of baselines without a model to records, if known on this machine.

    Computing them may need the data; a reader who verifies a published folder has only the folder.
    """
    own = set(records.columns)
    records = baselines.joined(records, [run])
    empty = [name for name in records if name not in own and records[name].isna().all()]
    records = records.drop(columns=empty)
    made = [name for name in records.columns if str(name).startswith("baseline_")]
    records[made] = records[made].convert_dtypes()
    return records
