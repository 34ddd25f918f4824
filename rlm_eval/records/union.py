"""Merges several run directories into one table; a sample in several of them is counted once.

Run directories overlap: a cell was copied, resumed elsewhere, or run twice; a folder is named
twice, or a cell was copied within its run. Several rows of one cell, sample and epoch are

* copies if everything measured is equal: the first row is kept. So are rows that differ in the
  score alone, if they took the same time: the stored answer was scored again in one of the runs;
* one result if only one of them has a score (the other failed for reasons outside the method);
* repeats if the replies differ: all are kept, numbered as further epochs.

Every table, figure, comparison, export and card reads its records through here.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rlm_eval.core.messages import warn

if TYPE_CHECKING:
    import pandas as pd

_WHO = ["cell_id", "sample_id", "epoch"]
_MEASURED = [
    "outcome", "answer_chars", "n_calls", "turns", "input_tokens", "output_tokens",
    "wall_seconds",
]  # fmt: skip
LEFT_OUT = "left_out"
"""Column: runs, joined by ", ", whose row of this sample was dropped."""
OTHER_SCORE = "other_score_in"
"""Column: runs, joined by ", ", in which the dropped row of the same answer has another score."""
REPEAT_OF = "repeat_of"
"""Column: the run with epoch 0 of a sample that several runs answered differently."""


def distinct(runs: Sequence[Path]) -> list[Path]:
    """Return the run directories without those that are named again; warn about each."""
    found: dict[Path, Path] = {}
    for run in map(Path, runs):
        first = found.setdefault(run.resolve(), run)
        if first is not run:
            warn(f"{run}: the same folder as {first}; it is read once")
    return list(found.values())


def united(frame: pd.DataFrame) -> pd.DataFrame:
    """Remove double counting from `frame`; three columns record what was done."""
    import pandas as pd

    shared = frame.duplicated(_WHO, keep=False)
    if not shared.any():
        return frame
    frame = frame.reset_index(drop=True)
    shared = frame.duplicated(_WHO, keep=False)
    runs = frame["run"].astype(str).to_numpy()
    left_out, other_score, repeat_of = dict[int, str](), dict[int, str](), dict[int, str]()
    dropped: list[int] = []
    for _, rows in frame[shared].groupby(_WHO, sort=False, dropna=False):
        kept, left = _one_of_each(rows)
        dropped += left
        if left:
            left_out[kept[0]] = ", ".join(sorted({runs[index] for index in left}))
            scores = rows["score"].loc[left].dropna()
            others = scores[scores != rows["score"].loc[kept[0]]].index
            other_score[kept[0]] = ", ".join(sorted({runs[index] for index in others}))
        repeat_of |= dict.fromkeys(kept[1:], runs[kept[0]])
    columns = {LEFT_OUT: left_out, OTHER_SCORE: other_score, REPEAT_OF: repeat_of}
    for name, values in columns.items():
        frame[name] = pd.array([values.get(i, "") for i in range(len(frame))], dtype="string")
    frame = frame.drop(index=dropped)
    _number_repeats(frame)
    return frame.reset_index(drop=True)


def _one_of_each(rows: pd.DataFrame) -> tuple[list[int], list[int]]:
    """Return (rows that differ, in the order of the runs; copies and failed attempts)."""
    scored = rows[rows["score"].notna()]
    candidates = scored if len(scored) else rows.head(1)
    names = [*_MEASURED, *(() if _is_timed(candidates) else ("score",))]
    measured = candidates[[name for name in names if name in candidates]]
    kept = list(candidates.index[~measured.duplicated()])
    return kept, [index for index in rows.index if index not in set(kept)]


def _is_timed(rows: pd.DataFrame) -> bool:
    """Return whether every row has a time of its own (an imported log may state none)."""
    return "wall_seconds" in rows and bool(rows["wall_seconds"].notna().all())


def copies(frame: pd.DataFrame) -> set[tuple[str, str, str, int]]:
    """Return (run, cell id, sample id, epoch) of the rows that other runs' rows stand for."""
    if LEFT_OUT not in frame:
        return set()
    taken = frame[frame[LEFT_OUT] != ""]
    return {
        (other, str(row["cell_id"]), str(row["sample_id"]), int(row["epoch"]))
        for row in taken[[*_WHO, "run", LEFT_OUT]].to_dict("records")
        for other in str(row[LEFT_OUT]).split(", ")
        if other != row["run"]
    }


def _number_repeats(frame: pd.DataFrame) -> None:
    """Number the repeats from other runs as epochs after those of the first."""
    repeated = frame[REPEAT_OF] != ""
    cells = set(frame.loc[repeated, "cell_id"])
    for _, rows in frame[frame["cell_id"].isin(cells)].groupby(
        ["cell_id", "sample_id"], sort=False
    ):
        free = int(rows["epoch"].max()) + 1
        for index in rows.index[rows[REPEAT_OF] != ""]:
            frame.loc[index, "epoch"] = free
            free += 1


def sentences(frame: pd.DataFrame) -> list[str]:
    """Return the sentences for a report on rows shared by several runs."""
    said: list[str] = []
    if LEFT_OUT not in frame:
        return said
    taken = frame[frame[LEFT_OUT] != ""]
    for (run, others), rows in taken.groupby(["run", LEFT_OUT], sort=False):
        where = f"are also in {others}" if others != run else f"stand several times in {run}"
        scored = rows[rows[OTHER_SCORE] != ""]
        again = f", {len(scored)} of them with another score" if len(scored) else ""
        said.append(
            f"{len(rows)} samples of {rows['cell_id'].nunique()} cells {where}{again}; they "
            f"are counted once, as in {run}."
        )
    repeats = frame[frame[REPEAT_OF] != ""]
    for (run, first), rows in repeats.groupby(["run", REPEAT_OF], sort=False):
        said.append(
            f"{len(rows)} samples of {rows['cell_id'].nunique()} cells were answered in {first} "
            f"and again in {run}: these are repeats, averaged per sample."
        )
    return said
