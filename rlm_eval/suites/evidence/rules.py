"""`baselines.json` of a published folder: what rules without a model score on its very samples.

One entry per task and length: the rules' scores, how much they read, and each method's paired
difference to them. Samples that today's generators do not make again are counted, never replaced.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import orjson

from rlm_eval.core.errors import RlmEvalError
from rlm_eval.records import baselines
from rlm_eval.storage.cell_store import BASELINES
from rlm_eval.suites.evidence.sources import Checked, Sources

if TYPE_CHECKING:
    import pandas as pd

SHOWN = 5
"""Rules of a kind that are listed, the best first."""
_KINDS = ("skimmer", "no_model")
_ROUNDED = 0.06
"""Points: a difference and a score are rounded to one and to four digits in the file."""


def entries(sources: Sources) -> dict[tuple[str, int], dict[str, Any] | str]:
    """(task, length) -> its entry as today's code makes it, or why it cannot be made."""
    bundle = sources.bundle
    made: dict[tuple[str, int], dict[str, Any] | str] = {}
    for name, manifest in bundle.manifests.items():
        own = bundle.records[bundle.records["cell_id"] == manifest["identity"]]
        if own.empty:  # another check names the records that are missing
            continue
        key = (str(own["task"].iloc[0]), int(own["length"].iloc[0]))
        if key not in made:
            made[key] = _entry(sources, name, key, set(own["sample_id"]))
        if isinstance(entry := made[key], dict):
            against = _against(own, entry["measured"])
            entry["told"]["method_minus_baseline"][str(own["method"].iloc[0])] = against
    return {
        key: made[key]["told"] if isinstance(made[key], dict) else made[key]  # type: ignore[index]
        for key in sorted(made)
    }


def _entry(
    sources: Sources, name: str, key: tuple[str, int], ids: set[str]
) -> dict[str, Any] | str:
    known, cell = sources.samples[name], sources.cells[name]
    if isinstance(known, str) or isinstance(cell, str):
        return str(known)
    samples = [sample for sample in known.values() if sample.id in ids]
    if not samples:
        return "another version of the generator made the samples"
    measured = baselines.measured(cell, samples)
    kinds = {
        kind: {part: found[part] for part in ("name", "score", "read")}
        for kind, found in measured["kinds"].items()
    }
    rules = sorted(measured["rules"], key=lambda rule: (-rule["score"], rule["read"]))
    told = {
        "task": key[0],
        "length": key[1],
        "samples_published": len(ids),
        "samples_made_again": len(measured["samples"]),
        "solved_by_code": measured["solved_by_code"],
        "kinds": kinds,
        "frontier": measured["frontier"],
        "best_rules": {
            kind: [rule for rule in rules if rule["kind"] == kind][:SHOWN] for kind in kinds
        },
        "method_minus_baseline": {},
    }
    return {"measured": measured, "told": told}


def _against(own: pd.DataFrame, measured: Mapping[str, Any]) -> dict[str, Any]:
    """Method minus baseline in points, with its 95 % interval, over the samples of both."""
    import numpy as np
    import pandas as pd

    from rlm_eval.stats import paired

    scores = own.groupby("sample_id").agg(score=("score", "mean"), cluster=("cluster", "first"))
    both = [name for name in measured["samples"] if pd.notna(scores["score"].get(name))]
    place = {name: i for i, name in enumerate(measured["samples"])}
    found = {}
    for kind in _KINDS:
        baseline = np.array(measured["kinds"][kind]["scores"])[[place[name] for name in both]]
        kept = scores.loc[both]
        diff = paired.compare(
            kept["score"].to_numpy(dtype=float), baseline, kept["cluster"].to_numpy(dtype=str)
        )
        found[kind] = [round(100 * v, 1) for v in (diff.difference, diff.low, diff.high)]
    return {"n": len(both), **found}


def checked(sources: Sources) -> Checked:
    """Every entry of `baselines.json` against the one that is made now.

    Of samples that are not made again, each difference must still be the mean of the records minus
    the score of the rule beside it; that score itself cannot be recomputed, and is counted.
    """
    found = Checked()
    published = orjson.loads((sources.bundle.folder / BASELINES).read_bytes())["cells"]
    now = entries(sources)
    said = {(entry["task"], entry["length"]): entry for entry in published}
    if said.keys() != now.keys() or len(said) != len(published):
        found.difference = "its entries are not the tasks and lengths of the records"
        return found
    for key, entry in said.items():
        made = now[key]
        where = f"{key[0]} at {key[1]}"
        if isinstance(made, str) or made["samples_made_again"] < entry["samples_made_again"]:
            why = made if isinstance(made, str) else "fewer samples are made again"
            found.difference = _inconsistent(sources.bundle.records, key, entry)
            found.impossible[f"{why}; their differences fit the records"] += 1
        else:
            made = orjson.loads(orjson.dumps(made, option=orjson.OPT_SERIALIZE_NUMPY))
            found.difference = _first(entry, made)
            found.done += 1
        if found.difference is not None:
            found.difference = f"{where}: {found.difference}"
            return found
    return found


def _inconsistent(
    records: pd.DataFrame, key: tuple[str, int], entry: Mapping[str, Any]
) -> str | None:
    """What of an entry does not follow from the records and the rules' stated scores."""
    own = records[(records["task"] == key[0]) & (records["length"] == key[1])]
    if entry["samples_published"] != own["sample_id"].nunique():
        return f"samples_published: {entry['samples_published']}"
    if entry["samples_made_again"] > entry["samples_published"]:
        return f"samples_made_again: {entry['samples_made_again']}"
    if set(entry["method_minus_baseline"]) != set(own["method"]):
        return "its methods are not those of the records"
    for method, told in entry["method_minus_baseline"].items():
        scores = own[own["method"] == method].groupby("sample_id")["score"].mean().dropna()
        if told["n"] != len(scores):
            if entry["samples_made_again"] == entry["samples_published"]:
                return f"{method}: n is {told['n']}, the records have {len(scores)}"
            continue  # some samples were not made again: which, is not known
        for kind in _KINDS:
            now = 100 * (float(scores.mean()) - entry["kinds"][kind]["score"])
            if abs(told[kind][0] - now) > _ROUNDED:
                return f"{method} minus {kind}: published {told[kind][0]}, recomputed {now:.1f}"
    return None


def _first(said: Any, now: Any, name: str = "") -> str | None:
    """The first place at which two JSON values differ, in words."""
    if isinstance(said, dict) and isinstance(now, dict) and said.keys() == now.keys():
        told = (_first(said[part], now[part], f"{name} {part}") for part in now)
        return next((one for one in told if one), None)
    if isinstance(said, list) and isinstance(now, list) and len(said) == len(now):
        told = (_first(a, b, name) for a, b in zip(said, now, strict=True))
        return next((one for one in told if one), None)
    is_close = (
        isinstance(said, float) and isinstance(now, float) and abs(said - now) <= 1e-9
    ) or said == now
    return None if is_close else f"{name.strip()}: published {said!r}, recomputed {now!r}"[:200]


def made_anew(sources: Sources) -> list[dict[str, Any]]:
    """Every entry, for the file; the stored one where its samples are no longer made again.

    Raises `RlmEvalError` where an entry can neither be made nor is stored.
    """
    file = sources.bundle.folder / BASELINES
    stored = orjson.loads(file.read_bytes())["cells"] if file.is_file() else []
    before = {(entry["task"], entry["length"]): entry for entry in stored}
    found = []
    for key, entry in entries(sources).items():
        old = before.get(key)
        if isinstance(entry, str) and old is None:
            raise RlmEvalError(
                f"{sources.bundle.folder}: {key[0]} at {key[1]}: {entry}; its {BASELINES} stays as "
                "it is"
            )
        if isinstance(entry, str) or (
            old is not None and entry["samples_made_again"] < old["samples_made_again"]
        ):
            found.append(old)
        else:
            found.append(entry)
    return [entry for entry in found if entry is not None]
