"""The referee's page: Markdown, HTML, and the text of the terminal, from one list of parts."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import pandas as pd

from rlm_eval.records.baselines import COLUMNS as BASELINES
from rlm_eval.report import per_sample, summary, wording
from rlm_eval.report.referee import checks, numbers
from rlm_eval.report.referee.claims import Claim, claims, untested
from rlm_eval.report.referee.evidence import MISSING, Evidence, Finding
from rlm_eval.report.referee.scorers import one_scorer, one_setting, one_verdict
from rlm_eval.report.referee.subsets import subsets
from rlm_eval.report.tables import baselines, standard
from rlm_eval.report.tables.formats import markdown
from rlm_eval.report.tables.standard import percent
from rlm_eval.report.viewer import page as html
from rlm_eval.stats import paired

ALL: tuple[Callable[[Evidence], Iterator[Finding]], ...] = (
    checks.cuts,
    checks.no_score,
    checks.missing_rows,
    checks.errors_as_answers,
    checks.holes,
    subsets,
    one_scorer,
    one_verdict,
    one_setting,
    numbers.rescored,
    numbers.labels,
    checks.samples,
    numbers.context_size,
    numbers.leaks,
    numbers.costs,
    numbers.zeros,
    numbers.units_of_time,
    checks.duplicates,
    numbers.times,
    numbers.answer_forms,
)
"""The checks in the order in which their reasons weigh."""
_MARKS = {"alarm": "ALARM", "note": "note", "fine": "ok", "unknown": "unknown"}
_RANK = {"alarm": 0, "note": 1, "unknown": 2, "fine": 3}


@dataclass(frozen=True)
class Page:
    """All that the referee says."""

    head: list[str]
    """What was compared."""
    arms: pd.DataFrame
    """One line per task and method."""
    findings: list[Finding]
    """Alarms first."""
    claims: list[Claim]
    """Every pair that was tested."""
    untested: list[str]
    """Pairs that share no scored sample."""

    @property
    def alarms(self) -> int:
        """Findings that may undo a claim."""
        return sum(finding.level == "alarm" for finding in self.findings)


def referee(evidence: Evidence) -> Page:
    """Runs every check and tests every claim."""
    found = findings(evidence)
    return Page(_head(evidence), _arms(evidence), found, claims(evidence), untested(evidence))


def findings(evidence: Evidence) -> list[Finding]:
    """What every check found, alarms first; no claim is tested."""
    found = [finding for check in ALL for finding in check(evidence)]
    return sorted(found, key=lambda finding: _RANK[finding.level])


def _head(evidence: Evidence) -> list[str]:
    frame = evidence.frame
    lost = frame["outcome"].isin(MISSING)
    lines = [
        f"{len(frame)} rows, {frame['sample_id'].nunique()} samples, "
        f"{frame['cluster'].nunique()} contexts or other independent units, "
        f"{frame['series'].nunique()} methods; {int(lost.sum())} rows missing",
    ]
    if stamp := wording.stamps(frame):
        lines.append(stamp)
    for about in evidence.imports:
        lines += [
            f"{file['name']}: {file['rows']} rows, SHA-256 {file['sha256']}"
            for file in about["files"][:20]
        ]
        if len(about["files"]) > 20:
            lines.append(f"and {len(about['files']) - 20} more files (imported.json has all)")
    remarks = [str(text) for text in frame["remark"].dropna().unique()]
    sentences = (one.rstrip(".") for text in remarks for one in text.split(". "))
    return [*lines, *(f"{one}." for one in dict.fromkeys(sentences) if "output cap" not in one)]


def _arms(evidence: Evidence) -> pd.DataFrame:
    """Scores beside their baselines, over all lengths of a task."""
    rows = []
    frame = evidence.frame
    order = {name: i for i, name in enumerate(summary.series_order(frame))}
    for task, of_task in frame.groupby("task_label", sort=False):
        parts = sorted(of_task.groupby("series"), key=lambda pair: order[str(pair[0])])
        for series, own in parts:
            units = per_sample.units(own)
            scored = units[~units["lost"]]
            cut = int(units["cut"].sum())
            rows.append(
                {
                    "task": task,
                    "method": series,
                    "rows": len(own),
                    "samples": len(units),
                    "contexts": int(units["cluster"].nunique()),
                    "scored": len(scored),
                    "missing": int(own["outcome"].isin(MISSING).sum()),
                    "cut or suspected": cut,
                    "score %": _score(units, cut),
                    "tokens in": _middle(own["input_tokens"]),
                    "tokens out": _middle(own["output_tokens"]),
                    "skimmer %": _baseline(own, "skimmer"),
                    "no model %": _baseline(own, "no_model"),
                }
            )
    return pd.DataFrame(rows)


def _score(units: pd.DataFrame, cut: int) -> str:
    scored = units[~units["lost"]]
    if not len(scored):
        return "none"
    if cut:
        sure = scored.loc[~scored["cut"], "score"].sum()
        low, high = sure / len(scored), (sure + scored["cut"].sum()) / len(scored)
        return f"{100 * low:.1f} to {100 * high:.1f}"
    return percent(scored["score"].mean())


def _middle(values: pd.Series) -> str:
    known = values.dropna()
    return f"{known.median():,.0f}" if len(known) else standard.UNKNOWN


def _baseline(own: pd.DataFrame, kind: str) -> str:
    column = BASELINES[kind]
    known = pd.to_numeric(own[column]).dropna() if column in own else pd.Series(dtype=float)
    return percent(known.mean()) if len(known) else baselines.NOT_COMPUTED


def as_markdown(page: Page) -> str:
    """The page as Markdown; the terminal prints the same."""
    lines = ["# Referee's page", "", *(f"- {line}" for line in page.head), ""]
    lines += ["## What was compared", "", markdown(page.arms), ""]
    lines += [f"## What was found: {page.alarms} alarms", ""]
    for finding in page.findings:
        lines.append(f"- **{_MARKS[finding.level]}** {finding.check}: {finding.text}")
        lines += [f"    - {row}" for row in finding.rows]
    lines += ["", "## Claims", ""]
    if not page.claims:
        lines.append("No two methods share a scored sample: there is no claim to test.")
    for number, claim in enumerate(page.claims, 1):
        lines += [f"{number}. {_numbers(claim)}", f"    - may be printed: {claim.sentence}"]
    if page.untested:
        lines += ["", f"Not testable: {len(page.untested)} pairs share no scored sample."]
        lines += [f"- {line}" for line in page.untested[:12]]
    return "\n".join([*lines, ""])


def _numbers(claim: Claim) -> str:
    given = (
        ""
        if math.isnan(claim.given_low)
        else f" (given these contexts [{100 * claim.given_low:+.1f}, "
        f"{100 * claim.given_high:+.1f}])"
    )
    over = (
        ""
        if math.isnan(claim.p_clusters)
        else f", over contexts p = {wording.probability(claim.p_clusters)}, after Holm "
        f"{wording.probability(claim.p_clusters_holm)}"
    )
    shown = (
        "n shows hardly any difference"
        if math.isnan(claim.detectable)
        else f"n shows {100 * claim.detectable:.0f} pp or more"
    )
    lost = f", {claim.missing} pairs lack a score" if claim.missing else ""
    as_wrong = ""
    if claim.missing:
        as_wrong = f"; a missing score counted as wrong: {claim.zero_a}:{claim.zero_b}"
        if not claim.graded:
            exact = paired.mcnemar(claim.zero_a, claim.zero_b)[0]
            as_wrong += f", exact p = {wording.probability(exact)}"
    test = "; sign flips p" if claim.graded else ", exact p"
    return (
        f"{claim.task}: {claim.a} against {claim.b}: {100 * claim.mean_a:.1f} - "
        f"{100 * claim.mean_b:.1f} = {100 * claim.difference:+.1f} pp [{100 * claim.low:+.1f}, "
        f"{100 * claim.high:+.1f}]{given}, n = {claim.n} in "
        f"{wording.several(claim.clusters, 'context')}{lost}; "
        f"right on one side alone {claim.only_a}:{claim.only_b}{test} = "
        f"{wording.probability(claim.p)}, after Holm {wording.probability(claim.p_holm)}{over}"
        f"{as_wrong}; {shown}"
    )


def as_html(page: Page) -> str:
    """The page as one HTML file; every text of data is escaped."""
    parts = ["<h1>Referee's page</h1>", _list(page.head), "<h2>What was compared</h2>"]
    parts.append(_table(page.arms))
    parts.append(f"<h2>What was found: {page.alarms} alarms</h2><ul>")
    for finding in page.findings:
        inner = _list(finding.rows) if finding.rows else ""
        mark = escape(_MARKS[finding.level])
        told = f"{escape(finding.check)}: {escape(finding.text)}"
        parts.append(f"<li><b>{mark}</b> {told}{inner}</li>")
    parts.append("</ul><h2>Claims</h2><ol>")
    for claim in page.claims:
        told = escape(_numbers(claim))
        parts.append(f"<li>{told}{_list([f'may be printed: {claim.sentence}'])}</li>")
    parts.append("</ol>")
    if page.untested:
        parts.append(f"<p>{len(page.untested)} pairs share no scored sample.</p>")
        parts.append(_list(page.untested[:12]))
    data: dict[str, Any] = {"source": "embedded", "texts": [], "items": [], "total": 0}
    return html.document("rlm_eval referee", "".join(parts), data)


def _list(lines: Sequence[str]) -> str:
    return "<ul>" + "".join(f"<li>{escape(str(line))}</li>" for line in lines) + "</ul>"


def _table(rows: pd.DataFrame) -> str:
    head = "".join(f"<th>{escape(str(name))}</th>" for name in rows.columns)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(str(value))}</td>" for value in line) + "</tr>"
        for line in rows.to_numpy().tolist()
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
