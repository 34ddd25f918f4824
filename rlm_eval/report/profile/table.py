"""The recursion profile as a table for a paper, and a figure per model: strategy by length."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from rlm_eval.report.profile.codebook import STRATEGIES, UNKNOWN
from rlm_eval.report.profile.measure import stability
from rlm_eval.report.series import model_pair
from rlm_eval.report.tables.standard import Table
from rlm_eval.stats.intervals import mean_interval

if TYPE_CHECKING:
    from rlm_eval.report.figures.style import Saved

WHO = ["task", "method", "variant", "root", "sub"]
"""What makes a line of the table."""
LABELS = (*STRATEGIES, UNKNOWN)
_FILLS = {
    "divide": ("#0072B2", ""), "map": ("#56B4E9", ""), "filter-then-read": ("#009E73", "//"),
    "search": ("#E69F00", ""), "compute": ("#D55E00", "\\\\"), "none": ("#CCCCCC", ""),
    UNKNOWN: ("#FFFFFF", "..."),
}  # fmt: skip


def profile_table(frame: pd.DataFrame) -> Table:
    """One line per task, method and pair of models. `frame` is that of `measure.measured`."""
    rows = [_line(who, own) for who, own in frame.groupby(WHO, sort=True, dropna=False)]
    shown = pd.DataFrame(rows)
    for name in ("variant", UNKNOWN):  # columns that apply to no line
        if name in shown and set(shown[name]) <= {"", "0"}:
            shown = shown.drop(columns=name)
    note = (
        "Recurse: share of samples with a sub-call, with its 95 % interval. Fan-out, depth, "
        "characters per sub-call (in brackets those of the context as it stands): medians over the "
        "samples that recurse; depth is the deepest. Success: sub-calls with a whole reply. "
        "Coverage and re-read: means. Deeper: share of the cost below the root (of tokens where no "
        "price is known: t). Strategies: percent of samples; their rules and confusion are in "
        "docs/profile.md. Stable: pairs of repeats with one strategy. Unknown is ?."
    )
    if frame["scripted"].any():
        note += " Some replies are scripted: no model answered."
    return Table("recursion_profile", "Recursion profile", note, shown)


def _line(who: Any, own: pd.DataFrame) -> dict[str, str]:
    task, method, variant, root, sub = who
    known = own[own["recursed"].notna()]
    deep = known[known["recursed"].astype(bool)]
    line = {
        "task": str(task),
        "method": str(method),
        "variant": str(variant),
        "models": model_pair(root, sub) or "none",
        "n": str(len(own)),
        "recurse %": _share(known),
        "fan-out": _median(deep["fanout"]),
        "depth": _number(known["depth"].max()),
        "chars per sub-call": _sizes(deep),
        "success %": _percent(deep["sub_succeeded"]),
        "coverage %": _percent(known["coverage"]),
        "re-read": _number(known["reread"].astype(float).mean(), 1),
        "deeper %": _deeper(known),
    }
    counts = own["strategy"].value_counts()
    known_none = counts.get(UNKNOWN, 0) == len(own)  # no share is known: not 0 of each
    line |= {
        name: "?"
        if known_none and name != UNKNOWN
        else f"{100 * counts.get(name, 0) / len(own):.0f}"
        for name in LABELS
    }
    same, pairs = stability(own)
    return line | {"stable": "?" if same is None else f"{same:.0%} of {pairs}"}


def _share(known: pd.DataFrame) -> str:
    if known.empty:
        return "?"
    means = known.groupby("sample").agg(
        recursed=("recursed", lambda values: float(values.astype(float).mean())),
        cluster=("cluster", "first"),
    )
    found = mean_interval(means["recursed"].to_numpy(dtype=float), means["cluster"].to_numpy())
    return f"{100 * found.estimate:.0f} [{100 * found.low:.0f}, {100 * found.high:.0f}]"


def _sizes(deep: pd.DataFrame) -> str:
    whole, context = _median(deep["sub_chars"]), _median(deep["sub_context_chars"])
    return whole if whole == "?" else f"{whole} [{context}]"


def _deeper(known: pd.DataFrame) -> str:
    told = _percent(known["cost_deeper"])
    return told + (" t" if told != "?" and (known["cost_by"] == "tokens").any() else "")


def _median(values: pd.Series) -> str:
    return _number(values.dropna().astype(float).median())


def _percent(values: pd.Series) -> str:
    mean = values.dropna().astype(float).mean()
    return "?" if pd.isna(mean) else f"{100 * mean:.0f}"


def _number(value: Any, digits: int = 0) -> str:
    return "?" if value is None or pd.isna(value) else f"{float(value):,.{digits}f}"


def write(frame: pd.DataFrame, folder: Path) -> list[Path]:
    """The table as CSV, Markdown and LaTeX, the rows behind it, and a figure per model."""
    from rlm_eval.report.tables.formats import latex, markdown
    from rlm_eval.storage.cell_store import output_folder

    table = profile_table(frame)
    output_folder(folder)
    texts = {
        "csv": table.rows.to_csv(index=False),
        "md": f"## {table.title}\n\n{markdown(table.rows)}\n\n{table.note}\n",
        "tex": latex(table),
    }
    written = [folder / "trajectories.csv"]
    frame.to_csv(written[0], index=False)
    for ending, text in texts.items():
        path = folder / f"{table.name}.{ending}"
        path.write_text(text, encoding="utf-8")
        written.append(path)
    for model, own in frame.groupby("root", sort=True):
        written += figure(own, str(model) or "no root", folder).paths
    return written


def figure(frame: pd.DataFrame, model: str, folder: Path) -> Saved:
    """Strategy by context length of one root model: stacked bars, a panel per task and method."""
    from matplotlib.patches import Patch

    from rlm_eval.report.figures import files, style

    frame = frame.assign(length=pd.to_numeric(frame["length"]).fillna(0))  # a log may not say it
    panels = list(frame.groupby(["task", "method", "variant"], sort=True))
    _, columns = style.grid(len(panels))
    page, axes = style.styled(style.panels)(len(panels), row_height=1.7)
    rows = []
    for axis, ((task, method, variant), own) in zip(axes, panels, strict=True):
        lengths = sorted(own["length"].unique())
        below = [0.0] * len(lengths)
        for name in LABELS:
            parts = [own[own["length"] == length] for length in lengths]
            values = [100 * float((part["strategy"] == name).mean()) for part in parts]
            rows += [
                {"task": task, "method": method, "variant": variant, "length": length,
                 "strategy": name, "percent": value, "n": len(part)}
                for length, value, part in zip(lengths, values, parts, strict=True)
            ]  # fmt: skip
            axis.bar(
                range(len(lengths)), values, bottom=below, color=_FILLS[name][0],
                hatch=_FILLS[name][1], edgecolor="#444444", linewidth=0.4, width=0.7,
            )  # fmt: skip
            below = [a + b for a, b in zip(below, values, strict=True)]
        names = [
            (f"{int(length):,}" if length else "unknown")
            + f"\nn = {int((own['length'] == length).sum())}"
            for length in lengths
        ]
        axis.set_xticks(range(len(lengths)), names)
        axis.set_ylim(0, 100)
        axis.set_title(f"{task}, {method}" + (f" [{variant}]" if variant else ""))
        axis.set_ylabel("trajectories (%)")
    style.outer_labels(axes, columns)
    shown = [name for name in LABELS if (frame["strategy"] == name).any()]
    handles = [
        Patch(facecolor=_FILLS[n][0], hatch=_FILLS[n][1], edgecolor="#444444", label=n)
        for n in shown
    ]
    caption = (
        f"Strategy by context length (tokens), root model {model}. Labels come from the code alone "
        "by the rules of docs/profile.md, which has their confusion; unknown: no code is stored."
    )
    finished = style.styled(style.finish)(page, frame=frame, caption=caption, handles=handles)
    name = re.sub(r"[^A-Za-z0-9.]+", "-", f"strategy_{model}").strip("-")
    return files.save(finished, folder, name, "Strategy by length", pd.DataFrame(rows))


def told(runs: Sequence[Path], out: Path) -> str:
    """Measure, write everything to `out`; the table as text. Raises `NoRecords` without results."""
    from rlm_eval.core.errors import NoRecords
    from rlm_eval.report.profile.measure import measured
    from rlm_eval.storage.plan import none_finished

    frame = measured(runs)
    if frame.empty:
        raise NoRecords(none_finished(runs))
    write(frame, out)
    text = (out / "recursion_profile.md").read_text(encoding="utf-8")
    return f"{text}\nfigures, CSV and LaTeX: {out}"
