"""From records to output for readers: tables, figures, report page, card, comparison, viewer.

The functions here are the complete interface for the commands. They import pandas and matplotlib
only when called, so that the command line starts fast.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rlm_eval.report.figures.beside import Beside
    from rlm_eval.report.figures.draw import Shape
    from rlm_eval.report.hooks import Additions, ContextOf


def report(
    run_dirs: Sequence[Path],
    out: Path,
    *,
    context_of: ContextOf | None = None,
    additions: Additions | None = None,
    shape: Shape | None = None,
    stored_names: bool = False,
) -> list[Path]:
    """Write tables, figures, `report.html` and `CARD.md` about these runs into `out`.

    `context_of` rebuilds contexts, so that the page can show the text of slices. `additions`
    returns a suite's further tables, and published scores to draw as hollow marks. `shape` is the
    format of the figures; `stored_names` keeps the method names of the records (`load_records`).
    Returns the written files, the page first. Raises `RlmEvalError` without records.
    """
    from rlm_eval.core import collector
    from rlm_eval.records import union
    from rlm_eval.report.figures import draw

    with collector.paused(), draw.others(shape) as beside:  # they start while the records are read
        return _written(
            union.distinct(run_dirs), Path(out), context_of, additions, shape, beside,
            stored_names=stored_names,
        )  # fmt: skip


def _written(
    run_dirs: list[Path],
    out: Path,
    context_of: ContextOf | None,
    additions: Additions | None,
    shape: Shape | None,
    beside: Beside | None,
    *,
    stored_names: bool,
) -> list[Path]:
    """Write a report; see `report`."""
    from rlm_eval.records import baselines
    from rlm_eval.records.record import load_records
    from rlm_eval.report import summary
    from rlm_eval.report.conclusion import conclusion
    from rlm_eval.report.figures import draw
    from rlm_eval.report.referee.evidence import Evidence
    from rlm_eval.report.referee.page import findings
    from rlm_eval.report.tables import assembled, card, comparison, formats
    from rlm_eval.report.tables import baselines as of_rules
    from rlm_eval.report.tables.caveats import caveats
    from rlm_eval.report.viewer import page as html
    from rlm_eval.report.viewer import trajectories
    from rlm_eval.report.viewer.rows import run_names
    from rlm_eval.storage import stale_code
    from rlm_eval.storage.cell_store import output_folder
    from rlm_eval.storage.published import is_published

    known = card.manifests(run_dirs)
    records = load_records(run_dirs, stored_names=stored_names)
    frame = summary.prepare(baselines.joined(records, run_dirs), known)
    table = of_rules.with_published(summary.summarise(frame, beside), run_dirs)
    comparisons = comparison.against(frame, summary.series_order(frame)[0])
    more, marks = ([], None) if additions is None else additions(frame)
    output_folder(out)
    drawing = draw.draw(frame, table, comparisons, out / "figures", marks, shape, beside)
    limits = [*stale_code.sentences(known), *caveats(frame, table)]
    built = assembled.tables(frame, table, comparisons, more)
    written = formats.write(built, table, out / "tables")
    told = card.facts(run_dirs, table, known)
    (out / "CARD.md").write_text(card.card(told, known, limits), encoding="utf-8")
    concluded = conclusion(
        frame,
        table,
        comparisons,
        limits,
        planned=[t for t in more if re.match(r"planned(_|$)", t.name)],
        findings=findings(Evidence(tuple(run_dirs), frame, known)),
    )
    samples = html.listed(frame)
    figures = drawing()  # last: until here the others drew
    from rlm_eval.report.figures import files  # loads matplotlib, which drawing alone needs

    written += [path for figure in figures for path in figure.paths]
    written.append(files.write_list(figures, out / "figures"))
    page = html.page(
        title=", ".join(dict.fromkeys(run.resolve().name for run in run_dirs)),
        facts=told,
        stamp=html.stamp_of(frame),
        conclusion=concluded,
        limits=limits,
        frame=frame,
        samples=samples,
        table=table,
        tables=built,
        figures=figures,
        embed=lambda room: trajectories.embed(run_dirs, frame, context_of, room=room),
        published=[name for run, name in run_names(run_dirs).items() if is_published(run)],
    )
    (out / "report.html").write_text(page, encoding="utf-8")
    return [out / "report.html", out / "CARD.md", *written]


def compare(
    run_dirs: Sequence[Path],
    a: str,
    b: str,
    *,
    margin: float | None = None,
) -> str:
    """Return the text of `rlm-eval compare A B` (`comparison.compare_text`), and warnings about
    the code that made the runs' cells (`stale_code`).

    Raises `ConfigError` for a `margin` that is not more than 0 and less than 1.
    """
    from rlm_eval.core.amounts import check_margin
    from rlm_eval.records.record import load_records
    from rlm_eval.records.union import distinct
    from rlm_eval.report.tables import card
    from rlm_eval.report.tables.comparison import compare_text
    from rlm_eval.storage import stale_code

    if margin is not None:
        check_margin(margin, "--margin")
    runs = distinct(run_dirs)
    known = card.manifests(runs)
    text = compare_text(load_records(runs), a, b, margin=margin, manifests=known)
    return "\n".join([text, *stale_code.sentences(known)])


def power(
    *,
    difference: float | None = None,
    n: int | None = None,
    discordant: Sequence[float] = (0.1, 0.2, 0.3, 0.4, 0.6),
    clusters: int | None = None,
    tests: int = 1,
) -> str:
    """Return the text of `rlm-eval power`; see `planned.power_text`."""
    from rlm_eval.report.tables.planned import power_text

    return power_text(
        difference=difference, n=n, discordant=discordant, clusters=clusters, tests=tests
    )


def export(
    run_dirs: Sequence[Path],
    out: Path,
    kind: str,
    *,
    context_of: ContextOf | None = None,
    min_score: float = 1.0,
    sub_calls: bool = False,
) -> list[Path]:
    """Write an export; `kind` is `tables`, `hub`, `chat` or `inspect` (`exports.KINDS`).

    `min_score` and `sub_calls` apply to `chat` only.

    Raises `RlmEvalError` for another kind, and for a `min_score` outside 0 to 1.
    """
    from rlm_eval.core.amounts import check_score
    from rlm_eval.core.errors import RlmEvalError
    from rlm_eval.records.union import distinct
    from rlm_eval.report.exports.files import KINDS

    if kind not in KINDS:
        raise RlmEvalError(f"export {kind}: choose one of {', '.join(KINDS)}")
    check_score(min_score, "--min-score")
    write = KINDS[kind]
    runs = distinct(run_dirs)
    return write(runs, Path(out), context_of=context_of, min_score=min_score, sub_calls=sub_calls)


def view(
    run_dirs: Sequence[Path],
    *,
    port: int = 0,
    context_of: ContextOf | None = None,
    ready: Callable[[str], None] = print,
) -> None:
    """Serve the trajectories of these runs on 127.0.0.1 until interrupted; see `server.serve`."""
    from rlm_eval.records.union import distinct
    from rlm_eval.report.viewer.server import serve

    serve(distinct(run_dirs), port=port, context_of=context_of, ready=ready)
