"""Names of the series of a report: a method and its distinguishing settings.

A name contains only settings that can change a reply. Settings come from the manifests
(`Cell.settings`: every default written out, run-time settings excluded); a window is the server's
reported value, a prompt's text is compared by hash. Cells that agree in all of these are one
series.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from rlm_eval.core.errors import RlmEvalError
from rlm_eval.core.types import RENAMED_PROMPTS
from rlm_eval.records import union
from rlm_eval.records.record import COUNTERFACTUAL
from rlm_eval.report.distinct import each_once

SERIES = ["method", "variant", "root", "sub", "prompt"]
"""Columns that identify a series."""
PLACE = ["task", "task_variant", "length"]
"""Columns of a comparison's place: rows that agree in `PLACE` and `SERIES` are one table line."""

_METHOD_ORDER = ["long_context", "rag", "summary_agent", "codeact", "react", "rlm"]
# Keys of a stored configuration (all that older manifests have); `settings` has only the lengths.
_RUNTIME = frozenset((
    "name", "results", "max_samples", "experiment", "debug", "n", "epochs", "port", "url", "length",
    "base_url", "api_key_env", "price", "concurrency", "rpm", "tpm", "timeout_s", "gpu_hour_usd",
    "stall_s", "retries", "backoff_s", "patience_s", "stream", "headers", "headers_env", "remark",
    "preflight", "server", "budget", "cell_budget", "cluster", "confirm_above", "sweep", "shard",
    "prompt", "prompt_file",
))  # fmt: skip

_SEEDS = frozenset(("seed", "task.seed"))  # other samples, not another setting
_SIZES = frozenset(("task.documents",))  # another measure of the length

UNNAMED = "unnamed_settings"
"""Column: settings, joined by ", ", in which cells of one series differ between lengths or tasks
without a name that states it."""

Leaves = dict[str, Any]


def tell_prompts_apart(frame: pd.DataFrame) -> None:
    """Add the hash to a prompt's name if a method was run with several texts of that name.

    A renamed prompt has its present name in every table, independent of the records.
    """
    frame["prompt"] = frame["prompt"].replace(RENAMED_PROMPTS)
    hashes = frame["prompt_hash"].astype(object).where(frame["prompt_hash"].notna(), "")
    texts = hashes[hashes != ""].groupby([frame["method"], frame["prompt"]]).transform("nunique")
    several = texts.index[texts > 1]
    frame.loc[several, "prompt"] = [
        f"{name}@{text[:8]}"
        for name, text in zip(frame.loc[several, "prompt"], hashes[several], strict=True)
    ]


def tell_variants_apart(frame: pd.DataFrame, manifests: Sequence[Mapping[str, Any]]) -> None:
    """Name the settings that differ between cells whose lines would print the same label.

    Samples of several seeds share one, too. Cells whose settings are known to agree become repeats
    of one cell if they agree in the seed. Cells without a known
    difference, but with incomplete settings, are named by the end of their id.
    """
    known = {m["identity"]: m for m in manifests}
    cells = frame[[*PLACE, *SERIES, "seed", "cell_id"]].drop_duplicates()
    names: dict[Any, str] = {}
    unnamed: dict[Any, str] = {}
    repeated = False
    for alike in _printed_alike(cells):
        leaves = {cell: _leaves_of(known.get(cell, {})) for cell in alike["cell_id"]}
        keys = _naming(alike, leaves)
        for _, series in alike.groupby(SERIES, dropna=False, sort=False):
            own = {cell: leaves[cell] for cell in series["cell_id"]}
            unnamed |= dict.fromkeys(own, _unnamed(series, own, keys))
            places = _cells_by(series, [*PLACE, "seed"])
            repeated = repeated or any(len(place) > 1 for place in places)
            for place in places:
                names |= _names({cell: _words(own[cell], keys) for cell in place}, known)
    if any(unnamed.values()):
        frame[UNNAMED] = frame["cell_id"].map(unnamed)
    frame["variant"] = each_once(
        lambda variant, cell: ", ".join(filter(None, (variant, names[cell]))),
        frame["variant"],
        frame["cell_id"],
    )
    if repeated:
        _number_repeats(frame)


def originals(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the rows that are not counterfactuals; all rows if every row is a counterfactual."""
    own = frame[~frame["variant"].fillna("").astype(str).str.startswith(COUNTERFACTUAL)]
    return frame if own.empty else own


def _number_repeats(frame: pd.DataFrame) -> None:
    """Assign distinct epochs to the samples of cells with equal settings."""
    line = [*PLACE, *SERIES, "seed", "sample_id"]
    several = frame.groupby(line, dropna=False)["cell_id"].transform("nunique") > 1
    if not several.any():
        return
    own = frame[several]
    frame.loc[several, "epoch"] = own.groupby(line, dropna=False).cumcount().astype(float)
    first = own.groupby(line, dropna=False)[["run", "cell_id"]].transform("first")
    again = own.index[own["cell_id"] != first["cell_id"]]
    for column in (union.LEFT_OUT, union.REPEAT_OF):
        if column not in frame:
            frame[column] = ""
    frame.loc[again, union.REPEAT_OF] = first.loc[again, "run"].astype(str)


def _cells_by(cells: pd.DataFrame, columns: Sequence[str]) -> list[list[Any]]:
    """Return the ids of the cells that agree in these columns, per group."""
    groups = cells.groupby(list(columns), dropna=False, sort=False)["cell_id"]
    return [list(dict.fromkeys(group)) for _, group in groups]


def _printed_alike(cells: pd.DataFrame) -> Iterator[pd.DataFrame]:
    """Yield the cells in groups whose labels would be equal.

    A method without a sub-model prints the same models as one whose sub-model is its root.
    """
    pairs = each_once(model_pair, cells["root"], cells["sub"])
    keys = ["method", "variant", "pair", "prompt"]
    for _, alike in cells.assign(pair=pairs).groupby(keys, dropna=False, sort=False):
        yield alike


def _names(
    words: Mapping[Any, Sequence[str]], known: Mapping[Any, Mapping[str, Any]]
) -> dict[Any, str]:
    """Return cell -> name for the cells of one place, from the words on their settings."""
    names = {}
    for cell, own in words.items():
        same = [other for other in words if words[other] == own]
        is_unsure = any(not known.get(other, {}).get("settings") for other in same) and same[1:]
        names[cell] = ", ".join([*own, str(cell)[-6:]] if is_unsure else own)
    return names


def _naming(series: pd.DataFrame, leaves: Mapping[Any, Leaves]) -> list[str]:
    """Return the keys that the names of a series' cells state.

    These are the keys that differ between cells of one place, whatever their seeds, and those that
    differ between the lengths of one task. Settings of the task and of a server often follow the
    length, and would split every line: over lengths alone they are a caveat (`UNNAMED`).
    """
    here, along = (
        _differing([leaves[cell] for cell in group] for group in _cells_by(series, columns))
        for columns in (PLACE, PLACE[:-1])
    )
    along = [
        key
        for key in along
        if not (key.startswith("task.") or key.endswith(".window") or ".engine." in key)
    ]
    return list(dict.fromkeys([*here, *along]))


def _unnamed(series: pd.DataFrame, leaves: Mapping[Any, Leaves], named: Sequence[str]) -> str:
    """Return the settings in which cells of a series differ without `named` stating it."""
    tasks = [[leaves[cell] for cell in group] for group in _cells_by(series, PLACE[:-1])]
    of_task = [key for key in _differing(tasks) if key.startswith("task.")]
    others = [key for key in _differing([list(leaves.values())]) if not key.startswith("task.")]
    left = [
        key
        for key in sorted({*of_task, *others} - {*named})
        if not (key in _SIZES or ".engine.environment." in key)
    ]
    return ", ".join(left)


def _differing(places: Iterable[Sequence[Leaves]]) -> list[str]:
    """Return keys with several values among the cells of a place; cells without a key are ignored.

    The seed of the samples is excluded, and so are the sub-model's keys if the root's of the same
    name have the same values.
    """
    found: dict[str, None] = {}
    for cells in places:
        if len(cells) < 2:
            continue
        for key in sorted({key for leaves in cells for key in leaves} - _SEEDS):
            values = {repr(leaves[key]) for leaves in cells if key in leaves}
            twin = key.replace("sub.", "root.", 1) if key.startswith("sub.") else None
            is_twin = twin and all(leaves.get(twin) == leaves.get(key) for leaves in cells)
            if len(values) > 1 and not is_twin:
                found[key] = None
    return list(found)


def _words(leaves: Leaves, keys: Sequence[str]) -> list[str]:
    return [f"{key.removeprefix('method.')}={leaves[key]}" for key in keys if key in leaves]


def _leaves_of(manifest: Mapping[str, Any]) -> Leaves:
    """Return dotted key -> value of the settings that may change a cell's replies."""
    found = {
        key.removeprefix("models."): value
        for key, value in _leaves(manifest.get("settings") or manifest.get("config", {}))
    }
    for slot, endpoint in manifest.get("endpoints", {}).items():
        window = f"{slot}.window"
        found[window] = found.get(window) or (endpoint or {}).get("window")
    return {k: v for k, v in found.items() if v is not None or not k.endswith(".window")}


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield (dotted key, value) of a configuration without run-time settings."""
    if not isinstance(value, Mapping):
        yield path, value
        return
    if "class" in value and "version" not in value:
        yield f"{path}.version", 1
    for key, inner in value.items():
        if key not in _RUNTIME:
            yield from _leaves(inner, f"{path}.{key}" if path else str(key))


def labels(frame: pd.DataFrame) -> pd.Series:
    """Return the shortest unique label per series: method, then the settings that vary.

    Raises `RlmEvalError` where two series would have the same one.
    """
    kinds = frame[SERIES].drop_duplicates()
    # A fixed program has no root: name its sub-model if it is not the root of the others.
    models = set(kinds["root"]) - {""} or set(kinds["sub"])
    shown = {key: model_pair(*key[2:4]) for key in kinds.itertuples(index=False, name=None)}
    made = {}
    for key, pair in shown.items():
        method, variant, root, sub, prompt = key
        parts = [str(method)]
        if variant:
            parts.append(f"[{variant}]")
        alike = [other for other in shown if (*other[:2], shown[other]) == (*key[:2], pair)]
        if any(other[4] == prompt and other != key for other in alike):
            parts.append(f"({root or 'no root'} > {sub or 'no sub'})")
        # A model's switches (`models.shown_name`) change its requests: always named.
        elif pair and (len(models) > 1 or pair not in models or " [" in pair):
            parts.append(f"({pair})")
        if len({other[4] for other in alike}) > 1:
            parts.append(f"prompt {prompt or 'none'}")
        made[key] = " ".join(parts)
    if len(set(made.values())) < len(made):
        several = [label for label, count in Counter(made.values()).items() if count > 1]
        raise RlmEvalError(
            f"{', '.join(several)}: the name of more than one series; give the methods different "
            "names and run their cells again"
        )
    groups = frame.groupby(SERIES, sort=False, dropna=False)
    names = [made[tuple(key)] for key in groups.size().index]
    return groups.ngroup().map(dict(enumerate(names)))


def model_pair(root: object, sub: object) -> str:
    """Return `root > sub`, or the only model of the two."""
    return " > ".join(dict.fromkeys(str(name) for name in (root, sub) if name))


def in_order(frame: pd.DataFrame) -> list[str]:
    """Return the series labels in a fixed order: baselines first, RLM last, then by name."""
    pairs = frame[["method", "series"]].drop_duplicates()

    def rank(pair: tuple[str, str]) -> tuple[int, str, str]:
        known = [i for i, name in enumerate(_METHOD_ORDER) if pair[0].startswith(name)]
        return (known[-1] if known else len(_METHOD_ORDER) - 2, pair[0], pair[1])

    return [series for _, series in sorted(pairs.itertuples(index=False, name=None), key=rank)]


def settings(data: pd.DataFrame) -> pd.Series:
    """Return what distinguishes the lines of one method besides their models.

    `data` has the columns `variant` and `prompt`; equal values mean equal settings.
    """
    several = data["prompt"].nunique() > 1
    told = [
        ", ".join(filter(None, (variant, f"prompt {prompt}" if several else "")))
        for variant, prompt in zip(data["variant"], data["prompt"], strict=True)
    ]
    return pd.Series(told, index=data.index, dtype=object)


def pair_method(frame: pd.DataFrame) -> str | None:
    """Return the recursive method with the most (root, sub) pairs; `None` if none has two."""
    pairs = frame[["method", "root", "sub"]].drop_duplicates().groupby("method").size()
    rlm = pairs[[name for name in pairs.index if str(name).startswith("rlm")]]
    return str(rlm.idxmax()) if len(rlm) and rlm.max() > 1 else None
