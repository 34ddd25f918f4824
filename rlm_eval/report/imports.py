"""Imports made apart whose logs have other settings: variants of a task, or of a method."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from rlm_eval.importers.settings import differing, joined

_TASK = ("task", "task_variant")
_METHOD = (*_TASK, "method", "variant", "root")
_KINDS = (("task_settings", _TASK, "task_variant"), ("method_settings", _METHOD, "variant"))


def tell_apart(frame: pd.DataFrame, manifests: Sequence[Mapping[str, Any]]) -> None:
    """Complete the variants of imported cells by the settings in which they differ.

    One import does so itself; here are the cells of several. Tasks under other settings are other
    tasks: no two of their samples are a pair.
    """
    for kind, columns, variant in _KINDS:
        known = _settings(manifests, kind)
        cells = frame.loc[frame["cell_id"].isin(list(known)), ["cell_id", *columns]]
        words = {}
        for _, own in cells.drop_duplicates().groupby(list(columns), dropna=False, sort=False):
            names = differing([known[cell] for cell in own["cell_id"]])
            if names:
                for cell, before in zip(own["cell_id"], own[variant], strict=True):
                    words[cell] = joined(before, known[cell], names)
        for cell, told in words.items():
            frame.loc[frame["cell_id"] == cell, variant] = told


def other_tasks(manifests: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, list[str]]]:
    """Yield (task, settings that differ) of tasks that several imports have under one name."""
    known = _settings(manifests, "task_settings")
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for manifest in manifests:
        if manifest["identity"] in known:
            task, more = (manifest["facts"].get(name) for name in _TASK)
            label = f"{task} ({more})" if more else str(task)
            groups.setdefault(label, []).append(known[manifest["identity"]])
    for label, stated in groups.items():
        if names := differing(stated):
            yield label, names


def _settings(manifests: Sequence[Mapping[str, Any]], kind: str) -> dict[Any, Mapping[str, Any]]:
    """Return cell -> the settings that its log states; cells without any are not in it."""
    stated = {m["identity"]: m.get("facts", {}).get(kind) for m in manifests}
    return {cell: settings for cell, settings in stated.items() if settings is not None}
