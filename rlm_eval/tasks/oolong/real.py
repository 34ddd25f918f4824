"""OOLONG-real, the benchmark's transcripts of a role-playing show (`oolongbench/oolong-real`).

Loader and official scorer only; the data card states no licence. Length is a number of episodes
(about 55K tokens each), so samples are keyed by measured tokens and `length` is an upper bound.
arXiv:2511.02817.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from rlm_eval.core.types import Answer, Density, Sample, Score
from rlm_eval.scoring import counted
from rlm_eval.scoring.oolong import oolong_real
from rlm_eval.tasks import Floor
from rlm_eval.tasks.base import Draft
from rlm_eval.tasks.baselines import Baseline, Kind, Reply
from rlm_eval.tasks.hub import LoadedTask
from rlm_eval.tasks.hub_rows import HubRows, hub_or_file
from rlm_eval.tasks.rows import in_turns, whole

REPOSITORY, REVISION = "oolongbench/oolong-real", "6bc9ef04866fcf005c9749b70649be69dd37fffb"
_COLUMNS: tuple[str, ...] = ("id", "context_window_id", "context_window_text", "question")
_COLUMNS = (*_COLUMNS, "answer", "question_type", "episodes")
_CHARS_A_TOKEN = 8
"""Upper bound on average over a transcript; longer texts are not tokenised."""
_SPELLS = re.compile(r"\b(spells?|casts?|casting|cantrips?)\b", re.IGNORECASE)
_ROLLS = re.compile(r"\b(rolls?|rolled|nat(ural)?\s?\d+|nat20s?|nat1s?|crit\w*)\b", re.IGNORECASE)
TYPES = ("singledoc_rolls", "singledoc_spells", "multidoc_rolls", "multidoc_spells")


@dataclass(frozen=True)
class OolongReal(LoadedTask):
    """See the module's docstring."""

    name: str = "oolong_real"
    """Name in tables."""
    length: int = 131072
    """Maximum context, measured tokens; longer rows are excluded."""
    config: str = "dnd"
    """`dnd` or `toy_dnd`."""
    split: str = "test"
    """`validation` (campaign 2) or `test` (campaign 1)."""
    question_type: str = ""
    """One of the four question types; empty = all. Derived from the question and its episodes,
    because the data set's own column can be misaligned with its rows."""

    clusters_in_data: ClassVar[bool] = True  # a window has no fixed number of rows
    # 1: windows in sequence; question types from the data set's column
    VERSION: ClassVar[int] = 2
    density: ClassVar[Density] = Density.LINEAR

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.config not in ("dnd", "toy_dnd") or self.split not in ("validation", "test"):
            raise ValueError(
                f"config={self.config}, split={self.split}: dnd or toy_dnd, validation or test"
            )
        if self.question_type not in ("", *TYPES):
            raise ValueError(f"question_type={self.question_type}: one of {', '.join(TYPES)}")

    @property
    def _rows(self) -> HubRows:
        where = (("context_window_text", "chars<=", self.length * _CHARS_A_TOKEN),)
        return HubRows(REPOSITORY, REVISION, self.split, self.config, _COLUMNS, where)

    def sources(self) -> Sequence[HubRows]:
        """See `LoadedTask`."""
        return () if self.path is not None else (self._rows,)

    def drafts(self) -> Iterator[Draft]:
        """Yield rows alternately from the windows of at most `length` tokens, each in order."""
        texts: dict[str, str] = {}  # one copy of each text, not one per row
        tokens: dict[str, int] = {}
        kept = []
        for row in hub_or_file(self.path, self._rows, nullable=("question_type", "episodes")):
            window = str(row["context_window_id"])
            if window not in tokens:
                with self.reading(f"row {row['id']}"):
                    tokens[window] = self.counter.count(row["context_window_text"])
                texts[window] = row["context_window_text"]
            if tokens[window] > self.length:
                texts[window] = ""
            elif self.question_type in ("", question_type(row)):
                kept.append((window, {**row, "context_window_text": None}))
        for window, row in in_turns(kept):
            yield self._draft(row, window, texts[window], tokens[window])

    def _draft(self, row: Mapping[str, Any], window: str, text: str, tokens: int) -> Draft:
        key = f"oolong_real|{self.split}|{window}"
        meta = {
            "row": str(row["id"]),
            "question_type": question_type(row),
            "question_type_column": str(row["question_type"]),
            "episodes": len(row["episodes"]) if isinstance(row["episodes"], list) else 1,
        }
        item = f"{key}|{row['id']}"
        gold = whole(row["answer"])
        with self.reading(f"row {row['id']}"):
            if not isinstance(gold, str | int):  # a list is a text with commas
                raise TypeError(f"the answer {gold!r:.60} is neither a text nor a whole number")
        gold = str(gold)
        return Draft(str(row["question"]), text, gold, key, item, tokens=tokens, meta=meta)

    def samples(self) -> Iterator[Sample]:
        """Yield the samples, keyed by the length bound."""
        return (replace(sample, length=self.length) for sample in super().samples())

    def score(self, sample: Sample, answer: Answer) -> tuple[Score, ...]:
        """The official score: counts by distance, lists by recall."""
        return (counted(oolong_real(sample.target, answer.text or "")),)

    def gold_fault(self, sample: Sample) -> str | None:
        """See `LoadedTask`. A published list with repeated items scores below 1."""
        items = [item.strip() for item in str(sample.target).split(",") if item.strip()]
        return None if len(set(items)) < len(items) else super().gold_fault(sample)

    def gold_answer(self, sample: Sample) -> Answer:
        """The gold in a box; a list with repeated items scores below 1, as in the reference."""
        return Answer(f"\\boxed{{{sample.target}}}")

    def floors(self) -> Mapping[str, Floor]:
        """`twenty` (the most common count), `speaker` (the most frequent speaker)."""
        return {"twenty": lambda _: "\\boxed{20}", "speaker": _speaker, "empty": lambda _: ""}

    def baselines(self) -> Sequence[Baseline]:
        """A constant and the most frequent speaker; golds of parts, for a skimmer, are unknown."""
        return [
            Baseline("prior", Kind.PRIOR, lambda _: Reply("\\boxed{20}", 0.0)),
            Baseline("speaker", Kind.NO_MODEL, lambda s: Reply(_speaker(s), 1.0)),
        ]


def question_type(row: Mapping[str, Any]) -> str:
    """Subject of a question and its number of episodes, as one of `TYPES`.

    The column decides where neither the question's words nor the list of episodes do.
    """
    episodes, question = row["episodes"], str(row["question"])
    reach, _, topic = str(row["question_type"]).partition("_")
    if isinstance(episodes, list) and episodes:
        reach = "singledoc" if len(episodes) == 1 else "multidoc"
    spells, rolls = _SPELLS.search(question), _ROLLS.search(question)
    if bool(spells) != bool(rolls):
        topic = "spells" if spells else "rolls"
    return f"{reach}_{topic}"


def _speaker(sample: Sample) -> str:
    names = Counter(line.split(":")[0] for line in sample.context.text().split("\n") if ":" in line)
    return f"\\boxed{{{names.most_common(1)[0][0] if names else ''}}}"
