"""Caveats about the models that answered: several ones, or another one than was asked for.

Names only: whether a server tells the truth, or calls one model by two names, is not visible.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator

import pandas as pd

_RELEASE = re.compile(r"[-@:_.](latest|preview|free|nitro|floor|online|beta|\d{4}-?\d\d-?\d\d)$")
"""The end of a name that says which release or which offer of a model it is."""


def sentences(frame: pd.DataFrame) -> Iterator[str]:
    """Yield the sentences about the models that the replies of each series name."""
    for series, rows in frame[frame["served_models"].notna()].groupby("series"):
        named = _by_slot(rows["served_models"])
        for slot, models in named.items():
            if len(models) > 1:
                yield (
                    f"{series}: the replies of the {slot} model name several models "
                    f"({_told(models)}). If the server changes models, scores and costs are those "
                    "of a mixture."
                )
        yield from _others(str(series), rows)


def _others(series: str, rows: pd.DataFrame) -> Iterator[str]:
    """Yield slots whose replies name another model than their requests."""
    if "requested_models" not in rows:  # records of before
        return
    for requested, own in rows[rows["requested_models"].notna()].groupby("requested_models"):
        asked = {slot: set(names) for slot, names in _by_slot(pd.Series([requested])).items()}
        for slot, models in _by_slot(own["served_models"]).items():
            other = Counter(
                {
                    name: n
                    for name, n in models.items()
                    if slot in asked and not any(is_alike(name, known) for known in asked[slot])
                }
            )
            if other:
                wanted = ", ".join(sorted(asked[slot]))
                yield (
                    f"{series}: the {slot} model was asked for as {wanted}; its replies name "
                    f"another model ({_told(other)}). If that is not the same model under "
                    "another name, scores and costs are not those of the one that was asked for."
                )


def is_alike(one: str, other: str) -> bool:
    """Return true if two names may be the same model's: one contains the other, where paths,
    prefixes of providers, release dates and punctuation do not count."""
    first, second = _plain(one), _plain(other)
    return not first or not second or first in second or second in first


def _plain(name: str) -> str:
    text = name.strip().lower().removesuffix("/").rpartition("/")[2].removesuffix(".gguf")
    while text != (shorter := _RELEASE.sub("", text)):
        text = shorter
    return re.sub(r"[\W_]+", "", text)


def _by_slot(texts: pd.Series) -> dict[str, Counter[str]]:
    """Return slot -> names with their numbers of samples."""
    named: dict[str, Counter[str]] = defaultdict(Counter)
    for text in texts:
        for part in str(text).split("; "):
            slot, _, names = part.partition(": ")
            named[slot].update(names.split(", "))
    return named


def _told(models: Counter[str]) -> str:
    return ", ".join(f"{name} in {n} samples" for name, n in models.most_common())
