"""A published folder (a bundle) as a run directory again, and the tables recomputed from it.

Everything here works offline and reads nothing but the bundle: no journal, no data set, no cache.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlm_eval.core.errors import RlmEvalError
from rlm_eval.records.record import FILE as RECORDS
from rlm_eval.storage import server_usage
from rlm_eval.storage.cell_store import BASELINES, write_json
from rlm_eval.storage.damage import damaged, read_mapping
from rlm_eval.storage.published import ACCOUNTS, MANIFESTS, RESTORE
from rlm_eval.storage.stale_code import HASHES, REPLAYS
from rlm_eval.suites.plan_file import FILE as PLAN
from rlm_eval.suites.plan_file import SuitePlan, read_record
from rlm_eval.suites.republish import manifests

if TYPE_CHECKING:
    import pandas as pd

README = "README.md"
CARD = "CARD.md"
NEEDED = (RECORDS, MANIFESTS, PLAN, ACCOUNTS)
"""Files without which nothing can be recomputed."""


@dataclass(frozen=True)
class Bundle:
    """A published folder. Raises `RlmEvalError` where a needed file is missing or damaged."""

    folder: Path

    def __post_init__(self) -> None:
        for name in NEEDED:
            if not (self.folder / name).is_file():
                raise RlmEvalError(
                    f"{self.folder}: no {name}; name a folder that `rlm-eval suite NAME --publish` "
                    "wrote, e.g. results/published/smoke"
                )

    @cached_property
    def manifests(self) -> dict[str, dict[str, Any]]:
        """Manifests by the name of the cell's folder."""
        return manifests(self.folder)

    @cached_property
    def record(self) -> SuitePlan:
        """The plan."""
        found = read_record(self.folder)
        assert found is not None, "checked when the bundle was opened"
        return found

    @cached_property
    def records(self) -> pd.DataFrame:
        """The published records, one row per (cell, sample, epoch)."""
        import pandas as pd

        with damaged(self.folder / RECORDS, RESTORE):
            return pd.read_parquet(self.folder / RECORDS, dtype_backend="numpy_nullable")

    @property
    def name(self) -> str:
        """The folder's published name, of the plan: a copy may lie under another one."""
        return Path(self.record.suite).name or self.folder.resolve().name

    @contextmanager
    def as_run(self) -> Iterator[Path]:
        """A temporary run directory of the bundle's plan, manifests, accounts, records, rules."""
        with tempfile.TemporaryDirectory(prefix="rlm-eval-bundle-") as place:
            run = Path(place) / self.name
            run.mkdir()
            for name in (PLAN, RECORDS, BASELINES):
                if (self.folder / name).is_file():
                    (run / name).write_bytes((self.folder / name).read_bytes())
            for name, manifest in self.manifests.items():
                cell = run / "cells" / Path(name).name
                cell.mkdir(parents=True)
                write_json(cell / "manifest.json", manifest)
                write_json(cell / "DONE", {})
            (run / server_usage.FOLDER).mkdir()
            for name, held in read_mapping(self.folder / ACCOUNTS, RESTORE).items():
                write_json(run / server_usage.FOLDER / Path(name).name, held)
            yield run

    @cached_property
    def prepared(self) -> Prepared:
        """The records as a report sees them."""
        with self.as_run() as run:
            return prepare(run)

    @cached_property
    def derived(self) -> dict[str, str]:
        """Path -> text of every table and the card, recomputed by today's code from the records."""
        return derive(self.prepared)

    @cached_property
    def behind_figures(self) -> dict[str, str]:
        """Path -> text of the CSV behind every figure, recomputed by today's code."""
        from rlm_eval.report.figures import draw

        made = self.prepared
        found = draw.numbers(made.frame, made.table, made.compared, made.marks)
        return {f"figures/{name}": text for name, text in found.items()}


@dataclass(frozen=True)
class Prepared:
    """What tables and figures of a run are made of."""

    known: list[dict[str, Any]]
    """Manifests."""
    frame: pd.DataFrame
    """Prepared records."""
    table: pd.DataFrame
    """Summary, a row per cell."""
    compared: pd.DataFrame
    """Comparisons with the first method."""
    more: list[Any]
    """Tables that the suite adds."""
    marks: pd.DataFrame | None
    """Published scores that figures show."""
    facts: Any
    """What the card says of the run."""


def prepare(run: Path) -> Prepared:
    """What tables and figures of a run with records are made of.

    Names are those in the records, or a seal of an earlier release would not hold. Baselines, too:
    none is computed, since that needs the data sets.
    """
    from rlm_eval.records import baselines
    from rlm_eval.records.record import load_records
    from rlm_eval.report import summary
    from rlm_eval.report.tables import baselines as of_rules
    from rlm_eval.report.tables import card, comparison
    from rlm_eval.suites.comparisons import additions

    known = card.manifests([run])
    frame = summary.prepare(baselines.joined(load_records([run], stored_names=True), []), known)
    table = of_rules.with_published(summary.summarise(frame), [run])
    compared = comparison.against(frame, summary.series_order(frame)[0])
    more, marks = additions([run])(frame)
    return Prepared(known, frame, table, compared, more, marks, card.facts([run], table, known))


def derive(made: Prepared) -> dict[str, str]:
    """Path -> text of `tables/*.csv`, `tables/*.md` and `CARD.md`."""
    from rlm_eval.report.tables import assembled, card, formats
    from rlm_eval.report.tables.caveats import caveats

    frame, table, known = made.frame, made.table, made.known
    built = assembled.tables(frame, table, made.compared, made.more)
    with tempfile.TemporaryDirectory(prefix="rlm-eval-tables-") as place:
        written = formats.write(built, table, Path(place))
        found = {
            f"tables/{path.name}": path.read_text("utf-8")
            for path in written
            if path.suffix in (".csv", ".md")
        }
    found[CARD] = card.card(made.facts, known, [*_code(known), *caveats(frame, table)])
    return found


def _code(known: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """What the manifests alone say of the code behind the cells.

    Not whether today's code is another one: a published card must not change with the code.
    """
    unknown = sum(None in (m.get(HASHES) or {"": None}).values() for m in known)
    replays = sum(bool(m.get(REPLAYS)) for m in known)
    if unknown:
        yield f"For {unknown} of {len(known)} cells no hash of the code that made them is known."
    if replays:
        yield (
            f"{replays} of {len(known)} cells were made before their code was rewritten; replay of "
            "their trajectories came to the same answers and scores."
        )
