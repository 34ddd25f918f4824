"""The commitment of a cell to its plan: a digest in the manifest, on disk before the first call.

The digest covers what the plan says will be compared: the suite, the comparisons and the grid of
the first plan. It does not cover the cells chosen later, the time, or the command line.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson

KEY = "plan"
"""Key of a manifest that holds the digest."""
PLAN = "suite.json"
_PLACE = ("part", "task", "length", "seed", "method", "models")


def plan_digest(plan: Mapping[str, Any]) -> str:
    """SHA-256, in hex, of what a plan (`suite.json`) names to be compared."""
    family = sorted(
        [place[name] for name in _PLACE] for place in plan["places"] if place.get("planned", True)
    )
    named = {"suite": plan["suite"], "comparisons": plan["comparisons"], "family": family}
    return hashlib.sha256(orjson.dumps(named, option=orjson.OPT_SORT_KEYS)).hexdigest()


def commitment(run: Path) -> dict[str, str]:
    """What a manifest written now in `run` says of the plan; empty for a run of no suite."""
    path = run / PLAN
    return {KEY: plan_digest(orjson.loads(path.read_bytes()))} if path.is_file() else {}


def began_under(manifest: Mapping[str, Any], run: Path) -> dict[str, str]:
    """What the manifest of a cell that begins or goes on says of the plan.

    `manifest` is the stored one, empty for a new cell. A cell with results keeps what it said when
    it began: it cannot commit to a plan afterwards.
    """
    if manifest:
        return {KEY: manifest[KEY]} if KEY in manifest else {}
    return commitment(run)
