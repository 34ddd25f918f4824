"""Floors and ceilings without a model: the reference points for a score.

`oracle` returns the gold answer (a scorer must give it 1); the other floors are the task's own
(`Task.floors()`: majority label, random choice, ...); `constant` always answers `text`. A method
has no access to the task, so the runner passes the answer function:

    if isinstance(method, Floor):
        answer = method.solve_with(sample, task.gold_answer if method.is_oracle
                                   else task.floors()[method.floor])
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from rlm_eval.core.errors import ConfigError
from rlm_eval.core.types import Answer, Sample
from rlm_eval.protocols import Session

AnswerFunction = Callable[[Sample], str]
"""An answer function of the task. Only the oracle's reads `sample.target`."""


@dataclass(frozen=True)
class Floor:
    """Answers without a model. See the module's docstring."""

    runs_code: ClassVar[bool] = False
    slots: ClassVar[tuple[str, ...]] = ()

    floor: str = "oracle"
    """`oracle`, `constant`, or a name in the task's `floors()`."""
    text: str = ""
    """The answer of `constant`."""
    label: str = ""
    """Name in tables; empty = `floor_` plus the floor's name."""

    def __post_init__(self) -> None:
        if not self.floor:
            raise ValueError("floor='': oracle, constant, or one of the task's floors")
        if self.text and self.floor != "constant":
            raise ValueError(f"text is what floor=constant answers; floor is {self.floor}")

    @property
    def name(self) -> str:
        """`floor_oracle`, `floor_constant`, ..."""
        return self.label or f"floor_{self.floor}"

    @property
    def prompt_id(self) -> str:
        """No prompt."""
        return "-"

    @property
    def is_oracle(self) -> bool:
        """True where the answer function is the task's gold answer."""
        return self.floor == "oracle"

    @property
    def needs_task(self) -> bool:
        """False for `constant`, which `solve` answers without the task."""
        return self.floor != "constant"

    def solve_with(self, sample: Sample, answer: AnswerFunction) -> Answer:
        """Return the result of the task's `answer` function; makes no call."""
        return Answer(text=answer(sample), provenance="program")

    async def solve(self, sample: Sample, session: Session) -> Answer:  # noqa: ARG002 - protocol
        """Return the constant. Raises `ConfigError` for a floor that needs the task."""
        if self.needs_task:
            raise ConfigError(f"floor={self.floor}: the runner answers it through solve_with")
        return Answer(text=self.text, provenance="program")
