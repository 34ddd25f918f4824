"""Merges several run directories into one table; a sample in several of them is counted once.

Run directories overlap: a cell was copied, resumed elsewhere, or run twice. Rows of one cell,
sample and epoch from several runs are

* copies if everything measured is equal: the first run's row is kept;
* one result if only one of them has a score (the other failed for reasons outside the method);
* repeats if the replies differ: all are kept, numbered as further epochs.

Every table, figure, comparison, export and card reads its records through here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

_WHO = ["cell_id", "sample_id", "epoch"]
_MEASURED = [
    "outcome", "score", "answer_chars", "n_calls", "turns", "input_tokens", "output_tokens",
    "wall_seconds",
]  # fmt: skip
LEFT_OUT = "left_out"
"""Column: runs, joined by ", ", whose row of this sample was dropped."""
REPEAT_OF = "repeat_of"
"""Column: the run with epoch 0 of a sample that several runs answered differently."""


def united(frame: pd.DataFrame) -> pd.DataFrame:
    """Remove double counting from `frame` of several runs; two columns record what was done."""
    import pandas as pd

    frame = frame.reset_index(drop=True)
    shared = frame.groupby(_WHO, dropna=False)["run"].transform("nunique") > 1
    if not shared.any():
        return frame
    runs = frame["run"].astype(str).to_numpy()
    left_out, repeat_of = dict[int, str](), dict[int, str]()
    dropped: list[int] = []
    for _, rows in frame[shared].groupby(_WHO, sort=False, dropna=False):
        kept, left = _one_of_each(rows)
        dropped += left
        if left:
            left_out[kept[0]] = ", ".join(sorted({runs[index] for index in left}))
        repeat_of |= dict.fromkeys(kept[1:], runs[kept[0]])
    for name, values in ((LEFT_OUT, left_out), (REPEAT_OF, repeat_of)):
        frame[name] = pd.array([values.get(i, "") for i in range(len(frame))], dtype="string")
    frame = frame.drop(index=dropped)
    _number_repeats(frame)
    return frame.reset_index(drop=True)


def _one_of_each(rows: pd.DataFrame) -> tuple[list[int], list[int]]:
    """Return (rows that differ, in the order of the runs; copies and failed attempts)."""
    scored = rows[rows["score"].notna()]
    candidates = scored if len(scored) else rows.head(1)
    measured = candidates[[name for name in _MEASURED if name in candidates]]
    kept = list(candidates.index[~measured.duplicated()])
    return kept, [index for index in rows.index if index not in set(kept)]


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
        said.append(
            f"{len(rows)} samples of {rows['cell_id'].nunique()} cells are also in {others}; they "
            f"are counted once, as in {run}."
        )
    repeats = frame[frame[REPEAT_OF] != ""]
    for (run, first), rows in repeats.groupby(["run", REPEAT_OF], sort=False):
        said.append(
            f"{len(rows)} samples of {rows['cell_id'].nunique()} cells were answered in {first} "
            f"and again in {run}: these are repeats, averaged per sample."
        )
    return said
