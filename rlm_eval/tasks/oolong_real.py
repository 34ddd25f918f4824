"""OOLONG-real, the benchmark's transcripts of a role-playing show (`oolongbench/oolong-real`).

Loader and official scorer only; the data card states no licence. Length is a number of episodes
(about 55K tokens each), so that samples are keyed by measured tokens and `length` is a bound.
arXiv:2511.02817.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from rlm_eval.scoring import counted
from rlm_eval.scoring.oolong import oolong_real
from rlm_eval.tasks import Floor
from rlm_eval.tasks.base import Draft
from rlm_eval.tasks.baselines import Baseline, Kind, Reply
from rlm_eval.tasks.hub import Condition, LoadedTask, file_rows, hub_rows
from rlm_eval.types import Answer, Density, Sample, Score

REPOSITORY, REVISION = "oolongbench/oolong-real", "6bc9ef04866fcf005c9749b70649be69dd37fffb"
TYPES = ("singledoc_rolls", "singledoc_spells", "multidoc_rolls", "multidoc_spells")


@dataclass(frozen=True)
class OolongReal(LoadedTask):
    """See the module's docstring."""

    name: str = "oolong_real"
    """Name in tables."""
    length: int = 131072
    """Longest context, measured tokens; longer rows are left out."""
    config: str = "dnd"
    """`dnd` or `toy_dnd`."""
    split: str = "test"
    """`validation` (campaign 2) or `test` (campaign 1)."""
    question_type: str = ""
    """One of the four question types; empty = all."""

    clusters_in_data: ClassVar[bool] = True  # rows of one window are in no fixed number
    density: ClassVar[Density] = Density.LINEAR

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.config not in ("dnd", "toy_dnd") or self.split not in ("validation", "test"):
            raise ValueError(
                f"config={self.config}, split={self.split}: dnd or toy_dnd, validation or test"
            )
        if self.question_type not in ("", *TYPES):
            raise ValueError(f"question_type={self.question_type}: one of {', '.join(TYPES)}")

    def drafts(self) -> Iterator[Draft]:
        """The rows in their order whose context is at most `length` tokens."""
        where: list[Condition] = []
        if self.question_type:
            where.append(("question_type", "==", self.question_type))
        rows = (
            file_rows(self.path, where)
            if self.path is not None
            else hub_rows(
                REPOSITORY, REVISION, self.split, config=self.config, where=where, parquet=False
            )
        )
        tokens: dict[str, int] = {}
        for row in rows:
            window, text = str(row["context_window_id"]), row["context_window_text"]
            if window not in tokens:
                tokens[window] = self.counter.count(text)
            if tokens[window] <= self.length:
                yield self._draft(row, window, text, tokens[window])

    def _draft(self, row: Mapping[str, Any], window: str, text: str, tokens: int) -> Draft:
        key = f"oolong_real|{self.split}|{window}"
        meta = {
            "row": str(row["id"]),
            "question_type": str(row["question_type"]),
            "episodes": len(row["episodes"]) if isinstance(row["episodes"], list) else 1,
        }
        item = f"{key}|{row['id']}"
        gold = str(row["answer"])
        return Draft(str(row["question"]), text, gold, key, item, tokens=tokens, meta=meta)

    def samples(self) -> Iterator[Sample]:
        """The samples, keyed by the bound that selected them."""
        return (replace(sample, length=self.length) for sample in super().samples())

    def score(self, sample: Sample, answer: Answer) -> tuple[Score, ...]:
        """The official score: counts by distance, lists by recall."""
        return (counted(oolong_real(sample.target, answer.text or "")),)

    def gold_answer(self, sample: Sample) -> Answer:
        """The gold in a box; a list with repeated items scores below 1, as in the reference."""
        return Answer(f"\\boxed{{{sample.target}}}")

    def floors(self) -> Mapping[str, Floor]:
        """`twenty` (the commonest count-like constant), `speaker` (most frequent speaker)."""
        return {"twenty": lambda _: "\\boxed{20}", "speaker": _speaker, "empty": lambda _: ""}

    def baselines(self) -> Sequence[Baseline]:
        """A constant and the most frequent speaker; golds of parts, for a skimmer, are unknown."""
        return [
            Baseline("prior", Kind.PRIOR, lambda _: Reply("\\boxed{20}", 0.0)),
            Baseline("speaker", Kind.NO_MODEL, lambda s: Reply(_speaker(s), 1.0)),
        ]


def _speaker(sample: Sample) -> str:
    names = Counter(line.split(":")[0] for line in sample.context.text().split("\n") if ":" in line)
    return f"\\boxed{{{names.most_common(1)[0][0] if names else ''}}}"
