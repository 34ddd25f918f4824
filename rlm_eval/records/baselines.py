"""The baselines of a cell on disk: `baselines.json` in the cell's folder, and columns of records.

    schema           layout of the file
    samples, of      ids of the samples that the rules answered; samples of the cell
    solved_by_code   true where a search or a program solves the task by design
    kinds            prior, no_model, skimmer, bag_of_words: the best rule's name, score, share of
                     the text that it read, and both for every sample
    frontier         prior, and the best skimmer of at most 1, 5 and 25 % of the text
    rules            every rule's kind, mean score and mean share read

Written when the cell runs, so that a report needs no data from a hub. A cell of an earlier release
has no such file: a report computes the baselines if our own generator can remake the samples.
No context text is stored.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from rlm_eval.core.baseline_kinds import BUDGETS, SCHEMA, Kind
from rlm_eval.core.errors import ConfigError, RlmEvalError
from rlm_eval.core.types import Sample
from rlm_eval.storage.cell_folders import started_cells
from rlm_eval.storage.cell_store import BASELINES, read_manifest, write_json
from rlm_eval.storage.damage import damaged

if TYPE_CHECKING:
    import pandas as pd

    from rlm_eval.config.cell import Cell

_LOG = logging.getLogger(__name__)

KINDS = tuple(kind.value for kind in Kind)
COLUMNS = {kind: f"baseline_{kind}" for kind in KINDS}
"""Kind -> column of records: the score of its best rule on the sample, in [0, 1]."""
READ = "baseline_read"
"""Column: share of the text that the best skimmer read of the sample, 0 to 1."""
STEPS = {budget: (f"baseline_at_{budget}", f"baseline_at_{budget}_read") for budget in BUDGETS}
"""Percent of the text -> columns of the cell's best skimmer: mean score, mean share read."""
NAMES = {kind: f"baseline_{kind}_rule" for kind in KINDS}
"""Kind -> column: name of its best rule."""
BY_CODE = "baseline_solved_by_code"
"""Column: the task is solved by a search or a program by design."""


def keep(folder: Path, cell: Cell, samples: Sequence[Sample], note: Callable[[str], None]) -> None:
    """Compute the baselines of a cell's samples and write them into its folder.

    A failing rule of a user's task must not end a paid run: `note` is called with the error. Raises
    `ConfigError` where the scorer is at fault, or cannot score with these settings.
    """
    task = cell.task
    if getattr(task, "gold_answer", None) is None:  # a user's question is not scored
        return
    from rlm_eval.tasks import ceilings

    try:
        found = ceilings.measure(task, samples)
    except (OSError, ConfigError):  # a setting that is wrong for every sample: none is paid for
        raise
    except (Exception, SystemExit) as error:  # noqa: BLE001 - a user's rule may raise anything
        why = "" if task.protected else f": {error}"  # an error may quote the text
        note(f"{task.name}: baselines not computed: {type(error).__name__}{why}")
        return
    write_json(folder / BASELINES, found)


def measured(cell: Cell, samples: Sequence[Sample]) -> dict[str, Any]:
    """What the rules score on these samples of a cell's task (`tasks.ceilings.measure`)."""
    from rlm_eval.tasks import ceilings

    return ceilings.measure(cell.task, samples)


def bound() -> str:
    """How many samples the rules answer, in words."""
    from rlm_eval.tasks import ceilings

    return f"the first {ceilings.MOST} samples, {ceilings.CHARACTERS:,} characters"


def columns(folder: Path) -> dict[str, dict[str, Any]]:
    """Return sample id -> its columns of records, from a cell's folder; empty without the file."""
    path = folder / BASELINES
    if not path.exists():
        return {}
    with damaged(path, "delete it: a report computes it again"):
        return in_columns(orjson.loads(path.read_bytes()))


def in_columns(found: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return sample id -> columns from a result of `ceilings.measure`; empty for another layout."""
    if found.get("schema") != SCHEMA:
        return {}
    kinds = found["kinds"]
    shared: dict[str, Any] = {NAMES[kind]: kinds[kind]["name"] for kind in KINDS if kind in kinds}
    shared[BY_CODE] = found["solved_by_code"]
    for names, step in zip(STEPS.values(), found["frontier"][1:], strict=True):
        shared |= {names[0]: step["score"], names[1]: step["read"]}
    return {
        sample: shared
        | {COLUMNS[kind]: kinds[kind]["scores"][i] for kind in KINDS if kind in kinds}
        | {READ: kinds[Kind.SKIMMER]["reads"][i]}
        for i, sample in enumerate(found["samples"])
    }


def joined(records: pd.DataFrame, runs: Sequence[Path]) -> pd.DataFrame:
    """Add the baseline columns to records; computed for generated cells without a stored file.

    A cell whose samples cannot be remade offline keeps empty columns: not computed.
    """
    import pandas as pd

    every = [*COLUMNS.values(), READ, *itertools.chain(*STEPS.values()), *NAMES.values(), BY_CODE]
    frame = records.reindex(columns=[*records.columns, *(n for n in every if n not in records)])
    known = frame.loc[frame[COLUMNS[Kind.PRIOR]].notna(), "cell_id"]
    lacking = set(frame["cell_id"].dropna().unique()) - set(known.unique())
    made: dict[tuple[str, str], dict[str, Any]] = {}
    for identity, rows in _made_again(runs, lacking):
        made |= {(identity, sample): row for sample, row in rows.items()}
    if not made:
        return frame
    who = zip(frame["cell_id"], frame["sample_id"], strict=True)
    found = pd.DataFrame([made.get(key, {}) for key in who], index=frame.index)
    for name in found.columns:
        frame[name] = frame[name].astype(object).where(frame[name].notna(), found[name])
    return frame


def _made_again(
    runs: Sequence[Path], lacking: set[str]
) -> Iterator[tuple[str, dict[str, dict[str, Any]]]]:
    """Yield (cell identity, columns by sample) for cells whose samples our generator can remake."""
    of_samples: dict[str, dict[str, dict[str, Any]]] = {}
    for folder in (folder for run in runs for folder in started_cells(run)):
        manifest = read_manifest(folder)
        config = manifest.get("config")
        if manifest["identity"] not in lacking or not (config and manifest["facts"]["generated"]):
            continue
        key = repr((config["task"], *(config.get(k) for k in ("n", "seed", "length", "tokenizer"))))
        if key not in of_samples:
            # A report loads tasks only if it must remake their samples.
            from rlm_eval.config.trust import stored_cell
            from rlm_eval.tasks import ceilings

            try:
                task = stored_cell(manifest).task
                samples = ceilings.bounded(task.samples())
                of_samples[key] = in_columns(ceilings.measure(task, samples))
            except (RlmEvalError, OSError) as error:
                _LOG.warning("%s: baselines not computed: %s", folder.name, error)
                of_samples[key] = {}
        yield manifest["identity"], of_samples[key]
