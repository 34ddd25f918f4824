"""How many lines the sub-model labels rightly, from the journals of a run of this suite.

    python benchmarks/recursion/leaves.py results/runs/recursion

A table line per finished cell with sub-calls about single lines: the gold of each line comes from
the task's generator, the reply from the journal. A sub-call is counted where the part of the
context in its prompt lies within one line. No model is called.
"""

from __future__ import annotations

import bisect
import sys
from collections import Counter
from pathlib import Path

from omegaconf import OmegaConf

from rlm_eval.config.cell import Cell, build_cell
from rlm_eval.core.types import Call, Sample, Slice
from rlm_eval.storage.cell_store import CellStore, stored_sample
from rlm_eval.tasks.oolong.base import LabelledWindows
from rlm_eval.tasks.oolong.window import line_spans


def line_of(call: Call, starts: list[int], ends: list[int]) -> int | None:
    """The number of the only line in a sub-call's prompt; `None` for none and for several."""
    parts = [p for _, parts in call.prompt.messages for p in parts if isinstance(p, Slice)]
    numbers = set()
    for part in parts:
        number = bisect.bisect_right(starts, part.start) - 1
        if number < 0 or part.end > ends[number] + 1:  # with the line's end
            return None
        numbers.add(number)
    return numbers.pop() if len(numbers) == 1 else None


def replies(cell: Cell, folder: Path) -> Counter[tuple[str, str]]:
    """(gold label, reply) -> number of sub-calls about one line."""
    found: Counter[tuple[str, str]] = Counter()
    made: dict[str, Sample] = {sample.id: sample for sample in cell.task.samples()}
    for line, attempt in CellStore(folder).load():
        sample = made[stored_sample(line).id]
        assert isinstance(cell.task, LabelledWindows)
        labels = [row.label for row in cell.task.labelled(sample)]
        text = sample.context.value()
        assert isinstance(text, str)
        starts, ends = map(list, zip(*line_spans(text), strict=True))
        assert len(labels) == len(starts)
        for call in attempt.trajectory.calls:
            if call.role.value == "sub" and (n := line_of(call, starts, ends)) is not None:
                found[labels[n], call.reply.strip().strip(".*").lower()] += 1
    return found


def main(run: Path) -> None:
    """See the module docstring."""
    print(
        "| task | length | method | lines | right % | wrong most often |\n|---|---|---|---|---|---|"
    )
    for folder in sorted((run / "cells").glob("oolong_gen_*")):
        manifest = CellStore(folder).manifest
        facts = manifest["facts"]
        found = replies(build_cell(OmegaConf.create(manifest["config"])), folder)
        if not found:
            continue
        count = sum(found.values())
        right = sum(n for (gold, reply), n in found.items() if gold == reply)
        wrong = Counter({pair: n for pair, n in found.items() if pair[0] != pair[1]})
        told = ", ".join(f"{a} as {b[:20]} {n}" for (a, b), n in wrong.most_common(2))
        name = f"{facts['method']}, {facts['prompt']}"
        shown = [facts["task"], facts["length"], name, count, f"{100 * right / count:.1f}", told]
        print(f"| {' | '.join(map(str, shown))} |")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
