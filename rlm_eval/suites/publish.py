"""results/published/<suite>/: the small files of a real run, published with the project.

Manifests, records (scalars only), server usage, and the report about exactly these. Scripted
replies are refused. Unfinished cells are excluded and counted in the README: the samples that
finish first are a biased subset. Cells that were published before and are not in the run stay
(`earlier`). Local folders and the interpreter are replaced by placeholders (`{cache}`, `~`,
`results/runs`, `python`).
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import orjson

from rlm_eval.core.errors import RlmEvalError
from rlm_eval.core.messages import warn
from rlm_eval.records.record import FILE as RECORDS
from rlm_eval.records.record import load_records
from rlm_eval.storage import server_usage
from rlm_eval.storage.cell_folders import all_started, copies_of
from rlm_eval.storage.cell_store import BASELINES, output_folder, read_manifest
from rlm_eval.storage.published import ACCOUNTS, MANIFESTS, in_one
from rlm_eval.storage.stale_code import refuse, today
from rlm_eval.suites.evidence.publishing import check, put, remake, seal
from rlm_eval.suites.places import RUNS, Anywhere, manifests_of, with_baselines
from rlm_eval.suites.plan_file import FILE as PLAN
from rlm_eval.suites.plan_file import read_record
from rlm_eval.suites.republish import Earlier, earlier, manifests
from rlm_eval.suites.schema import Suite

if TYPE_CHECKING:
    import pandas as pd

PUBLISHED = Path("results/published")
_MADE = ("cells", "report", RECORDS, server_usage.FOLDER, PLAN)  # rebuilt for the published part
LONGEST = 200
"""Maximum characters of a record's text; longer texts are excluded: replies are not published."""


def publish(run: Path, suite: Suite, root: Path = PUBLISHED) -> list[Path]:
    """Report on the finished cells, write the small files to `root`/<suite>; return their paths.

    The previous files stay until the new ones are complete and pass their own verification;
    previously published cells that the run has not finished and the plan still names are kept.
    Finished cells that the plan does not name are left out, with a warning. Raises `RlmEvalError`
    for scripted replies, cells of other code than the installed code, a run without a plan or
    without a finished cell, new files that fail `verify`, and a `root` that cannot be written.
    """
    if (record := read_record(run)) is None:
        raise RlmEvalError(
            f"{run}: no {PLAN}: not the run of a suite; run `rlm-eval suite NAME` first"
        )
    out = output_folder(root, "publish from a checkout of your own") / suite.name
    copies = copies_of(all_started(run))
    finished = sorted(path.parent for path in run.glob("cells/*/DONE"))
    told = {folder: read_manifest(folder) for folder in finished if folder not in copies}
    named = {place.cell for place in record.places}
    done = [folder for folder, manifest in told.items() if manifest["identity"] in named]
    if beyond := [folder.name for folder in told if folder not in done]:
        warn(
            f"{run}: {len(beyond)} of {len(told)} finished cells are not published, because the "
            f"plan does not name them: {', '.join(beyond)}"
        )
    if not done:
        raise RlmEvalError(f"{run}: no cell is finished: there is nothing to publish")
    refuse(run, ((cell, today(told[cell])) for cell in done), "not published")
    kept = earlier(out, record, {told[cell]["identity"]: told[cell] for cell in done})
    _replace(run, suite.name, out, done, kept)
    return sorted(path for path in out.rglob("*") if path.is_file())


def republish(suite: Suite, root: Path = PUBLISHED) -> list[Path]:
    """Rebuild tables, figures, card and README of a published folder from its own records.

    For studies without run directories; values that need trajectories stay unknown. Raises
    `RlmEvalError` if nothing is published or the folder's sealed files were changed.
    """
    out = output_folder(root, "publish from a checkout of your own") / suite.name
    if read_record(out) is None:
        raise RlmEvalError(
            f"{out}: nothing is published there; run `rlm-eval suite NAME --publish` first"
        )
    remake(out)
    return sorted(path for path in out.rglob("*") if path.is_file())


def _replace(run: Path, name: str, out: Path, done: Sequence[Path], kept: Earlier | None) -> None:
    """Publish in `out`; its present files stay until the new ones are complete."""
    with (
        _whole(run, done, kept) as whole,
        tempfile.TemporaryDirectory(prefix=".new-", dir=out.parent) as aside,
    ):
        made = Path(aside) / name
        made.mkdir()
        if kept is not None and (out / BASELINES).exists():
            for place in (whole, made):
                shutil.copyfile(out / BASELINES, place / BASELINES)
        _publish(whole, made, Anywhere(run, whole), kept)
        seal(whole, made, out, kept)
        check(made)
        put(made, out)


@contextmanager
def _whole(run: Path, done: Sequence[Path], kept: Earlier | None) -> Iterator[Path]:
    """Yield a folder of links to the run's finished cells, plus the cells that stay published.

    Unfinished cells are absent from it.
    """
    with tempfile.TemporaryDirectory(prefix="rlm-eval-publish-") as folder:
        whole = Path(folder) / run.name
        own = [path for path in run.iterdir() if path.name not in _MADE]
        held = (run / server_usage.FOLDER).glob("*.json")
        for path in (*own, *done, *held, run / PLAN):
            link = whole / path.relative_to(run)
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(path.absolute())
        if kept is not None:
            kept.place(whole)
        yield whole


def _publish(run: Path, out: Path, anywhere: Anywhere, kept: Earlier | None) -> None:
    from rlm_eval.config.contexts import ContextSource
    from rlm_eval.records.build import cell_folders, write_records
    from rlm_eval.suites.reporting import write_report

    write_records(run, [] if kept is None else kept.rows)
    records = _without_texts(load_records([run]), anywhere)
    if records["scripted"].any():
        raise RlmEvalError(f"{run}: scripted replies are not results and are not published")
    # The report must use the published table: its card has the digest of that file.
    records = with_baselines(records, run)
    records.to_parquet(run / RECORDS, index=False)
    write_report([run], run / "report", ContextSource())
    shutil.copyfile(run / RECORDS, out / RECORDS)
    for name, told in (
        (MANIFESTS, in_one({cell.name: read_manifest(cell) for cell in cell_folders(run)})),
        (ACCOUNTS, server_usage.read(run)),
        (PLAN, orjson.loads((run / PLAN).read_bytes())),
    ):
        text = orjson.dumps(told, option=orjson.OPT_INDENT_2).decode()
        (out / name).write_text(anywhere.told(text), encoding="utf-8")
    report = run / "report"
    files = [report / "CARD.md", *(report / "tables").iterdir(), *(report / "figures").iterdir()]
    for path in files:
        inside = out / path.relative_to(report)
        inside.parent.mkdir(exist_ok=True)
        if path.suffix == ".png":
            shutil.copyfile(path, inside)
        elif path.suffix in (".csv", ".md", ".txt"):
            inside.write_text(anywhere.told(path.read_text("utf-8")), encoding="utf-8")


def _without_texts(records: pd.DataFrame, anywhere: Anywhere) -> pd.DataFrame:
    """Return machine-independent records without replies and other long texts."""
    for name in records.select_dtypes(include=["string", "object"]):
        text = records[name].astype("string")
        if text.str.len().fillna(0).max() > LONGEST and name != "remark":
            records = records.drop(columns=name)
        else:
            records[name] = text.map(anywhere.told, na_action="ignore")
    return records


def _progress(run: Path) -> tuple[int, int]:
    """Return (finished, planned) cells of a suite's run."""
    record = read_record(run)
    places = record.places if record else []
    planned = {place.cell or place for place in places}
    done = {
        orjson.loads(path.read_bytes())["identity"]
        for path in manifests_of(run)
        if (path.parent / "DONE").exists()
    }
    return len(done & planned), len(planned)


def state(name: str, root: Path = PUBLISHED, runs: Path = RUNS) -> str:
    """Describe which part of a suite was run with a real model."""
    told = []
    if (root / name / MANIFESTS).exists():
        facts = [manifest["facts"] for manifest in manifests(root / name).values()]
        # A fixed program has no root model: its sub-model answers.
        models = {fact["root"] or fact["sub"] for fact in facts} - {None}
        told.append(f"published: {', '.join(sorted(models))}")
    if read_record(runs / name) is not None:
        done, planned = _progress(runs / name)
        told.append(f"run here: {done} of {planned} cells")
    return "; ".join(told) or "not yet run"
