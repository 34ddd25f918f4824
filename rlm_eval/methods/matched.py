"""`program_matched`: the fixed program for the operation that a task needs, without recursion.

The baseline that an RLM has to beat: given that a task counts, sums, filters or joins, a person
writes one program for it, once, and models only read the leaves. The operation comes from the
task's class (`operation`), equal for all its samples; the program reads the question as every
method does (a number or a total). It uses no gold and no length.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

from rlm_eval.core.errors import ConfigError
from rlm_eval.methods.program import Program

PROGRAMS: Mapping[str, str] = {
    "count": "record_count",
    "sum": "record_sum",
    "filter": "map",
    "join": "label_join",
}
"""Operation -> the strongest shipped program for it, a file of `prompts/program/`.

`count`: a label per record and the attribute to count by, counted in code. `sum`: an amount per
record, cancelled records removed and the rest summed (or counted) in code. `filter`: every part is
read for the items that the question selects. `join`: a label per record, pairs formed in code.
"""


@dataclass(frozen=True)
class MatchedProgram(Program):
    """See the module's docstring. `operation` and `program` are set for a task."""

    operation: str = ""
    """The task's operation; empty until `matched_to`."""

    @property
    def name(self) -> str:
        """`program_matched`."""
        return self.label or "program_matched"

    @property
    def remark(self) -> str:
        """Remark that names the baseline in reports."""
        return (
            f"program_matched ran the fixed program {self.program} for the operation "
            f"{self.operation}, which the task states; it is what an RLM has to beat there"
        )

    def matched_to(self, operation: str | None, task: str) -> MatchedProgram:
        """Return this method for a task that needs `operation`.

        Raises `ConfigError` where the task declares none, or one without a program.
        """
        if (self.program, self.program_file, self.operation) != ("map", None, ""):
            raise ConfigError(
                "method=program_matched: program, program_file and operation follow from the task; "
                "name a program of your choice as method=program_map method.program=NAME"
            )
        if operation is None or operation not in PROGRAMS:
            stated = "states no operation" if operation is None else f"states {operation!r}"
            raise ConfigError(
                f"method=program_matched: task {task} {stated}; there are programs for "
                f"{', '.join(PROGRAMS)}. Take another program, as method=program_map"
            )
        return dataclasses.replace(self, operation=operation, program=PROGRAMS[operation])
