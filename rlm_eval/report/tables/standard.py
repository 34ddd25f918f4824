"""The standard tables of a report as text: outcome counts first, then the scores they permit.

`summary.summarise` computes the numbers; here they are formatted, rounded once; `formats` writes
the files. Unknown is the word `unknown`, never 0 and never blank.
"""

from __future__ import annotations

import math
import re
from dataclasses import replace
from typing import Any

import pandas as pd

from rlm_eval.core.types import Outcome
from rlm_eval.records.coverage import FAILURES
from rlm_eval.report import wording
from rlm_eval.report.tables import baselines
from rlm_eval.report.tables.table import FEW, UNKNOWN, Table, marked, row_dicts

__all__ = ["UNKNOWN", "Table"]


def build(frame: pd.DataFrame, table: pd.DataFrame, comparisons: pd.DataFrame) -> list[Table]:
    """Return the standard tables of a report, in reading order."""
    found = [
        _outcomes(frame, table), _accuracy(table), _cost(table), _latency(table), _behaviour(table),
    ]  # fmt: skip
    if not comparisons.empty:
        found.append(differences(comparisons))
    if not (rules := baselines.lines(table)).empty:
        found.append(Table("baselines", "Scores without a model", baselines.NOTE, rules))
    failures = _failures(frame)
    return [*found, failures] if not failures.rows.empty else found


def of_imports(tables: list[Table], frame: pd.DataFrame) -> list[Table]:
    """Add the provenance of imported rows to each table's note."""
    sources = wording.imported(frame)
    return [replace(t, note=f"{sources}. {t.note}") for t in tables] if sources else tables


def _line(row: Any) -> dict[str, Any]:
    length = wording.tokens_label(row["length"])
    return {"task": row["task_label"], "length": length, "method": row["series"], "n": row["n"]}


def _outcomes(frame: pd.DataFrame, table: pd.DataFrame) -> Table:
    counted = frame["outcome"].value_counts()
    # Ties in the order of the outcomes: a rebuilt report has the same columns.
    kinds = sorted((o.value for o in Outcome if o.value in counted), key=lambda o: -counted[o])
    keys = ["task_label", "length", "series"]
    counts = frame.groupby([*keys, "outcome"]).size().unstack(fill_value=0)
    rows = []
    for row in row_dicts(table):
        own = counts.loc[tuple(row[k] for k in keys)]
        line = _line(row) | {"repeats": _repeats(row), "scored": row["n_scored"]}
        line |= {kind: int(own[kind]) for kind in kinds}
        line |= {
            "calls cut at output cap": _whole(row["truncated_calls"]),
            "failed calls": _whole(row["failed_calls"]),
            "re-rolled": _whole(row["re_rolls"]),
        }
        if table["server_cut_calls"].fillna(0).any():
            line["calls with a cut prompt"] = _whole(row["server_cut_calls"])
        rows.append(line)
    note = (
        "How every sample ended. Truncated is not wrong, an error is not wrong: provider_error, "
        "server_cut, repl_unavailable, judge_error and cancelled are missing, not scored."
    )
    return Table("outcomes", "How the samples ended", note, pd.DataFrame(rows))


def _accuracy(table: pd.DataFrame) -> Table:
    scorers = [c for c in table.columns if c.startswith("score_")]
    marks, footnotes = marked([how_kind(row) for row in row_dicts(table)])
    few = table["interval"].astype(str).str.contains(_MEANS_OF, regex=False).any()
    rows, data = [], []
    for row, mark in zip(row_dicts(table), marks, strict=True):
        head = _line(row) | {"clusters": row["clusters"], "score %": score_text(row)}
        means = str(row["interval"]).partition(_MEANS_OF)[2] if not row["as_bounds"] else ""
        line = baselines.columns_of(table, row)
        if table["given_low"].notna().any():
            line["given these contexts"] = "" if row["as_bounds"] else _given(row)
        if table["pass_at"].notna().any():  # right at least once, right every time
            line |= {"pass@K %": percent(row["pass_at"]), "pass^K %": percent(row["pass_hat"])}
        if len(scorers) > 1:
            for name in (column.removeprefix("score_") for column in scorers):
                line[f"{name} %"] = _scorer_text(row, name)
                if f"n_{name}" in row:  # a scorer that does not apply to all samples
                    line[f"{name} %, n"] = row[f"n_{name}"]
        of_clusters = {"means of the clusters": means.partition(": ")[2]} if few else {}
        rows.append(head | {"95 % interval": _interval(row) + mark} | of_clusters | line)
        data.append(head | {"95 % interval": _interval(row), "how": _how(row)} | line)
    note = (
        "Mean score. Samples that share a context are one cluster; repeats are averaged first. "
        "Where more than 5 % were cut off or some are missing, the score is printed as bounds: "
        "those samples counted wrong, and counted right. Skimmer and no model: the best rules that "
        "need no model, on the same samples (table `baselines`). Text needed: the share of the "
        "text that a skimmer of the same score reads; a score does not prove that more was read. "
        f"{footnotes}"
    )
    if table["given_low"].notna().any():
        note += f" {_CONDITIONAL}"
    return Table("accuracy", "Score", note, pd.DataFrame(rows), pd.DataFrame(data))


_MEANS_OF = "; means of the "


def how_kind(row: Any) -> str:
    """Return the footnote text on the interval: its kind, without the numbers of one cell."""
    if row["as_bounds"]:
        return "bounds: more than 5 % were cut off, or some are missing (counts: CSV, `outcomes`)"
    kind = str(row["interval"]).partition(";")[0]
    return re.sub(r" at n = [\d.]+", " at n/deff", kind)  # the CSV has each cell's number


_CONDITIONAL = (
    "Given these contexts: the interval with the questions as units. It holds for these contexts "
    "only and does not generalise to others; no verdict is based on it."
)


def _given(row: Any, signed: bool = False) -> str:
    """Return the conditional interval; empty if only the interval over contexts applies."""
    if not _known(row["given_low"]):
        return ""
    sign = "+" if signed else ""
    return f"[{100 * row['given_low']:{sign}.1f}, {100 * row['given_high']:{sign}.1f}]"


def score_text(row: Any) -> str:
    """Return the score of a line of the cell table in percent, or its two bounds."""
    if row["as_bounds"]:
        return f"{100 * row['bound_low']:.1f} to {100 * row['bound_high']:.1f}"
    return percent(row["accuracy"])


def _scorer_text(row: Any, name: str) -> str:
    """Return the mean score of a further scorer in percent, or its two bounds."""
    if _known(row.get(f"bound_low_{name}")):
        return f"{100 * row[f'bound_low_{name}']:.1f} to {100 * row[f'bound_high_{name}']:.1f}"
    return percent(row[f"score_{name}"])


def _repeats(row: Any) -> int | str:
    """Return the repeats per sample; a range where samples differ."""
    least, most = row.get("repeats_least", row["repeats"]), row["repeats"]
    return most if least == most else f"{least} to {most}"


def _mean(row: Any, name: str, label: str, form: Any) -> dict[str, Any]:
    """Return a column of means, and its number of samples where some lack the value."""
    line = {label: form(row[f"mean_{name}"])}
    return line | ({f"{label}, n": row[f"mean_{name}_n"]} if f"mean_{name}_n" in row else {})


def _interval(row: Any) -> str:
    if row["as_bounds"]:
        return "bounds"
    return f"[{100 * row['low']:.1f}, {100 * row['high']:.1f}]"


def _how(row: Any) -> str:
    if row["as_bounds"]:
        cut = "cut off, or suspected" if "unknown " in row["outcomes"] else "cut off"
        return f"{100 * row['cut_share']:.0f} % {cut}, {row['missing']} missing"
    return str(row["interval"])


def _cost(table: pd.DataFrame) -> Table:
    rows = []
    for row in row_dicts(table):
        dollars = {
            "USD mean": _with_interval(row, "cost", "mean", money),
            "median": _with_interval(row, "cost", "median", money),
            "p25 to p75": _range(row, "cost", "p25", "p75", money),
            "p95": _high(row, "cost", money),
            "max": money(row["cost_max"]),
            "total": money(row["cost_total"]),
            "mean, cache hits seen": money(row["observed_mean"]),
        }
        line = {
            "tokens in": _count(row["mean_input_tokens"]),
            "of them cached": _count(row["mean_cached_tokens"]),
            "tokens out": _count(row["mean_output_tokens"]),
            "in, root": _count(row["mean_root_tokens"]),
            "in, sub": _count(row["mean_sub_tokens"]),
        }
        for kind in ("GPU", "core"):
            if table[f"mean_{kind.lower()}_seconds"].notna().any():
                line[f"{kind} s"] = one(row[f"mean_{kind.lower()}_seconds"])
        for name, label in (
            ("gpu_hours", "GPU h, cell"),
            ("gpu_hours_per_correct", "GPU h/correct"),
        ):
            if name in table:
                line[label] = UNKNOWN if pd.isna(row[name]) else wording.three_digits(row[name])
        if table["cost_mean"].notna().any():  # else no model has a known price
            dollars = _unless_refused(dollars, row)
        rows.append(_line(row) | dollars | _unless_refused(line, row))
    prices = ", ".join(sorted(set(table["prices"].dropna().astype(str)))) or "no price table"
    note = (
        "List price per sample, every input token at full rate unless it says otherwise; judges "
        "left out; means of tokens per sample. Mean and median with 95 % intervals. "
        f"{_refusals(table)}Prices: {prices}. p95 needs n >= 72; below, see "
        "max. A failed request for which the provider reported no tokens is not in here."
    )
    if table["gpu_priced"].any():
        names = ", ".join(sorted(set(table.loc[table["gpu_priced"], "root"].astype(str))))
        note += (
            f" {names}: not list prices but GPU time at the price given per hour: a call's share "
            "of its server while calls were in flight, idle time left out."
        )
    return Table("cost", "Cost", note, pd.DataFrame(rows))


def _unless_refused(line: dict[str, Any], row: Any) -> dict[str, Any]:
    """Return a line of costs or times; `refused` if no prompt was read, so nothing was spent."""
    if row["refused"] < row["rows"]:
        return line
    return {name: "refused" if told == UNKNOWN else told for name, told in line.items()}


def _refusals(table: pd.DataFrame) -> str:
    count = int(table["refused"].sum())
    return f"{count} prompts that were refused as too long are left out. " if count else ""


def _latency(table: pd.DataFrame) -> Table:
    rows = []
    for row in row_dicts(table):
        line = _line(row) | {"timed": row["n_timed"], "in flight": _count(row["concurrency"])}
        for name, label in (("wall", "wall s"), ("path", "critical path s")):
            line |= {
                f"{label}, median": _with_interval(row, name, "median", _seconds),
                f"{label}, p25 to p75": _range(row, name, "p25", "p75", _seconds),
                f"{label}, p95": _high(row, name, _seconds),
                f"{label}, max": _seconds(row[f"{name}_max"]),
            }
        line |= _mean(row, "service", "calls' own s", _seconds)
        line |= _mean(row, "queue", "queued s", _seconds)
        if table["mean_first_token"].notna().any():
            line |= _mean(row, "first_token", "first token s", _seconds)
            line |= _mean(row, "token", "s per token", _seconds)
        rows.append(_unless_refused(line, row))
    note = (
        "Wall: start to end with that many samples in flight. Critical path: longest chain of "
        "calls and code, queueing left out. The calls' own seconds, and those before they were "
        f"sent, are sums, means over samples. {_refusals(table)}Resumed samples are not timed. "
        "For a latency claim use a latency run (one sample at a time, warm-up discarded)."
    )
    return Table("latency", "Latency", note, pd.DataFrame(rows))


def _behaviour(table: pd.DataFrame) -> Table:
    rows = []
    for row in row_dicts(table):
        line = _line(row)
        line |= _mean(row, "calls", "calls", one) | _mean(row, "turns", "turns", one)
        line |= _mean(row, "sub_calls", "sub-calls", one) | {
            "with a sub-call": f"{row['recursion']:.0f} of {row['rows']}"
            if _known(row["recursion"])
            else UNKNOWN,
        }
        line |= _mean(row, "coverage", "coverage %", percent)
        line |= _mean(row, "reread", "re-read", one)
        line |= _mean(row, "evidence_seen", "evidence seen %", percent)
        line |= _mean(row, "error_steps", "error blocks", one)
        line |= {
            "prompt": row["prompt"] or (UNKNOWN if row["imported"] else "none"),
            "isolation": row["isolation"]
            if isinstance(row["isolation"], str)
            else UNKNOWN
            if row["imported"]
            else "no code run",
        }
        rows.append(line)
    note = (
        "Means per sample. Coverage: share of the context that some model call was shown. "
        "Re-read: times each shown character was sent. An RLM score without sub-calls is code "
        "search, not recursion."
    )
    return Table("behaviour", "What the methods did", note, pd.DataFrame(rows))


def differences(comparisons: pd.DataFrame) -> Table:
    """Build paired differences, one line per comparison (`report.tables.comparison`)."""
    conditional = comparisons["given_low"].notna().any()
    rows = [
        {
            "task": row["task_label"],
            "length": wording.tokens_label(row["length"]),
            "A": row["a"],
            "B": row["b"],
            "pairs": row["n"],
            "A - B, pp": f"{100 * row['difference']:+.1f}",
            "95 % interval": f"[{100 * row['low']:+.1f}, {100 * row['high']:+.1f}]",
            **({"given these contexts": _given(row, signed=True)} if conditional else {}),
            "A better": row["wins"],
            "B better": row["losses"],
            "p": wording.probability(row["p"]),
            "p, Holm": wording.probability(row["p_holm"]),
            "cost A / B": one(row["cost_ratio"]),
            "verdict": row["verdict"],
        }
        for row in row_dicts(comparisons)
    ]
    tests = "; ".join(sorted(set(comparisons["test"])))
    note = (
        f"The same samples on both sides. Tests: {tests}. Exploratory unless a suite named these "
        "comparisons before the run."
    )
    if conditional:
        note += f" {_CONDITIONAL}"
    return Table("comparisons", "Paired differences", note, pd.DataFrame(rows))


def _failures(frame: pd.DataFrame) -> Table:
    wrong = frame[frame["failure"].notna() & (frame["failure"] != "")]
    kinds = set(wrong["failure"].unique())
    note = "Answers that scored less than 1, by where they went wrong. " + "; ".join(
        f"{kind}: {words}" for kind, words in FAILURES.items() if kind in kinds
    )
    if wrong.empty:
        return Table("failures", "Error analysis", note, pd.DataFrame())
    keys = ["task_label", "length", "series"]
    counts: Any = wrong.groupby([*keys, "failure"]).size().unstack(fill_value=0)
    rows = []
    for key, own in zip(counts.index, counts.to_dict("records"), strict=True):
        line = {"task": key[0], "length": wording.tokens_label(key[1]), "method": key[2]}
        # Not called "wrong": that is one of the kinds.
        rows.append(line | {"not right": sum(own.values())} | own)
    return Table("failures", "Error analysis", note, pd.DataFrame(rows))


def _whole(value: Any) -> int | str:
    """Format a count, or `unknown`."""
    return int(value) if _known(value) else UNKNOWN


def _known(value: Any) -> bool:
    return value is not None and not math.isnan(float(value))


def percent(value: Any) -> str:
    """Format a share in percent."""
    return f"{100 * value:.1f}" if _known(value) else UNKNOWN


def money(value: Any) -> str:
    """Format US dollars (or tokens) with three digits."""
    return wording.three_digits(value) if _known(value) else UNKNOWN


def _seconds(value: Any) -> str:
    return wording.three_digits(value) if _known(value) else UNKNOWN


def _count(value: Any) -> str:
    return f"{value:,.0f}" if _known(value) else UNKNOWN


def one(value: Any) -> str:
    """Format a mean with two decimals."""
    return f"{value:.2f}" if _known(value) else UNKNOWN


def _with_interval(row: Any, name: str, centre: str, form: Any) -> str:
    """Format a mean or median with its 95 % interval, if n allows one."""
    low, high = row[f"{name}_{centre}_low"], row[f"{name}_{centre}_high"]
    told = str(form(row[f"{name}_{centre}"]))
    return f"{told} [{form(low)}, {form(high)}]" if _known(low) else told


def _range(row: Any, name: str, low: str, high: str, form: Any) -> str:
    if not _known(row[f"{name}_{low}"]):
        return UNKNOWN
    return f"{form(row[f'{name}_{low}'])} to {form(row[f'{name}_{high}'])}"


def _high(row: Any, name: str, form: Any) -> str:
    if row["n"] < 72 and _known(row[f"{name}_p95"]):
        return FEW
    return str(form(row[f"{name}_p95"]))
