"""Sentences shared by captions: meaning of bands and marks, outcomes, limits of n."""

from __future__ import annotations

from collections.abc import Collection

import pandas as pd

from rlm_eval.report import wording
from rlm_eval.report.figures import style
from rlm_eval.report.tables.caveats import remarks

_DASHED = {
    "skimmer": "the best skimmer (reads at most 25 % of the text)",
    "no_model": "the best rule without a model",
    "bag_of_words": "a bag of words trained on other seeds (light)",
}
"""Kind of baseline -> its words in a caption."""


def counts_by_panel(table: pd.DataFrame, count: str) -> bool:
    """Return whether n differs between cells, so that each panel must print its own."""
    return table.loc[table["refused"] != table["rows"], count].nunique() > 1


def one_size(table: pd.DataFrame, count: str = "n", what: str = "per point") -> str:
    """Return `n = 40 per point` if n is the same everywhere; empty if panels must print it."""
    read = table.loc[table["refused"] != table["rows"], count]
    return "" if read.nunique() != 1 else f"{wording.counted(read)} {what}"


def spread_note(looks: Collection[str], table: pd.DataFrame) -> str:
    """Explain the points, bands and bars of panels over length."""
    told = (
        "Score: mean and 95 % interval per length. Cost: mean with its 95 % interval, and the "
        "median as a dash; latency: median with its 95 % interval"
    )
    lengths = table.groupby(["task_label", "series"])["length"].nunique()
    if len(looks) <= style.BANDS and lengths.gt(1).any():  # a band needs two lengths
        return f"{told}; both: 25 to 75 % (dark) and 5 to 95 % (light) of samples. "
    return f"{told}. "


def baselines_note(table: pd.DataFrame, drawn: Collection[str] = tuple(_DASHED)) -> str:
    """Explain the dashed lines, and name the tasks that have none and those that code solves.

    `drawn`: the kinds of baseline that the figure draws.
    """
    found = [_DASHED[kind] for kind in drawn if table[f"base_{kind}"].notna().any()]
    if not found:
        return ""
    *most, last = found
    words = f"{', '.join(most)} and {last} score" if most else f"{last} scores"
    told = f"Dashed grey: what {words} on the same samples. "
    known = table.groupby("task_label", sort=False)["base_prior"].count()
    if lacking := ", ".join(known.index[known.eq(0)]):
        told += f"Baselines not computed: {lacking}. "
    if names := ", ".join(dict.fromkeys(table.loc[table["base_by_code"], "task_label"])):
        told += f"Solved by a search or a program by design: {names}. "
    return told


def overflow_note(table: pd.DataFrame) -> str:
    """Explain hatches and crosses, if there are any."""
    if not table["overflow_share"].gt(0).any():
        return ""
    told = "Hatched: lengths at which prompts overflowed the window. "
    if table["overflow_share"].gt(0.5).any():
        told += "x: more than half of a point's samples overflowed it and score 0. "
    return told


def bounds_note(table: pd.DataFrame) -> str:
    """Explain the bars of scores that are known as bounds only, if there are any."""
    if not table["as_bounds"].any():
        return ""
    return (
        "Bars with end ticks: more than 5 % of the samples were cut off, or some are missing; the "
        "score lies between the ends (those wrong, those right). "
    )


def published_note(published: pd.DataFrame | None) -> str:
    """Explain the hollow marks."""
    if published is None:
        return ""
    return "Hollow grey: published (~: read off a plot, so approximate), not tested here. "


def shared_caption(frame: pd.DataFrame, table: pd.DataFrame) -> str:
    """Return the text of every caption: outcomes, prompts, observed recursion, limits of n."""
    counts = frame["outcome"].value_counts()
    parts = ["Outcomes: " + ", ".join(f"{name} {count}" for name, count in counts.items()) + "."]
    if refused := int(table["refused"].sum()):
        parts.append(
            f"{refused} prompts were refused as longer than the window: they score 0 and have no "
            "cost and no latency, so whatever shows cost or latency leaves them out."
        )
    for method in dict.fromkeys(table["method"]):
        own = table[table["method"] == method]
        prompts = sorted({str(p) for p in own["prompt"] if p})
        words = [f"prompt {', '.join(prompts)}"] if prompts else []
        rows, unknown = int(own["rows"].sum()), bool(own["recursion"].isna().any())
        used = 0 if unknown else int(own["recursion"].sum())
        if unknown:
            words.append("its calls are not in the imported log")
        elif method.startswith("rlm") or used:
            words.append(f"{used} of {rows} samples made a sub-call")
            if not used:
                words.append("so its score is code search, not recursion")
        if words:
            parts.append(f"{method}: {', '.join(words)}.")
    smallest = int(table["n"].min())
    if smallest < 50:
        parts.append(f"With n = {smallest} per point, small differences cannot be seen.")
    if frame["scripted"].any():
        parts.append("Replies are scripted: nothing here measures a model.")
    parts += remarks(frame)
    if frame["generated"].any():
        parts.append("The data come from this harness's own generator, not from a published set.")
    return " ".join(parts)


def latency_note(table: pd.DataFrame, clock: str) -> str:
    """Explain the latency, with its concurrency."""
    inflight = sorted({int(c) for c in table["concurrency"].dropna()})
    words = "/".join(map(str, inflight)) or "unknown"
    if clock == "path":
        return f"Latency: longest chain of calls and code, queueing left out ({words} in flight)."
    return f"Latency: wall time with {words} samples in flight."


def inflight(table: pd.DataFrame) -> str:
    """Describe the concurrency."""
    found = sorted({int(c) for c in table["concurrency"].dropna()})
    return f"Samples in flight: {'/'.join(map(str, found)) or 'unknown'}."
