"""Your own data: a JSON-lines, JSON, Parquet or CSV file with a context, a question and an answer.

One YAML names the file, the columns and the metric. A context may be one text or a list of
documents. Not here: judged answers (write a task with `judge_prompt`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from rlm_eval.errors import ConfigError
from rlm_eval.scoring.command import SCORERS
from rlm_eval.scoring.match import normalized_contains, normalized_exact
from rlm_eval.tasks import Floor
from rlm_eval.tasks.base import Draft
from rlm_eval.tasks.hub import LoadedTask
from rlm_eval.tasks.rows import file_rows
from rlm_eval.types import Answer, Sample, Score, canonical_text, text_hash

OWN_METRICS = {"exact": normalized_exact, "contains": normalized_contains}


@dataclass(frozen=True)
class Custom(LoadedTask):
    """See the module's docstring."""

    name: str = "custom"
    metric: str = "exact"
    """`exact` or `contains` (normalised text, any of several answers), or a scorer's name of
    `rlm-eval score-answers --scorer list`, which may read further columns of the row."""
    context: str = "context"
    """Column of the text or the list of documents."""
    question: str = "question"
    """Column of the question."""
    answer: str = "answer"
    """Column of the gold, or of the list of accepted answers."""

    own_length: ClassVar[bool] = True
    clusters_in_data: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.path is None:
            raise ValueError("path: name the file with your rows")
        if self.metric not in (*OWN_METRICS, *SCORERS):
            raise ValueError(f"metric={self.metric}: one of {', '.join([*OWN_METRICS, *SCORERS])}")

    def drafts(self) -> Iterator[Draft]:
        """The rows in the file's order. Columns that are not named become `meta` where scalar."""
        own = (self.context, self.question, self.answer)
        for number, row in enumerate(file_rows(str(self.path)), 1):
            missing = [column for column in own if row.get(column) is None]
            if missing:
                raise ConfigError(
                    f"{self.path}, row {number}: no {', '.join(missing)}; the row has "
                    f"{', '.join(row)}. Name your columns with task.context, task.question, "
                    "task.answer"
                )
            value = row[self.context]
            context = tuple(map(str, value)) if isinstance(value, list) else str(value)
            meta: dict[str, Any] = {
                k: v for k, v in row.items() if k not in own and not isinstance(v, list | dict)
            }
            cluster = str(row.get("cluster") or text_hash(canonical_text(context)))
            item = str(row.get("id") or number)
            yield Draft(
                str(row[self.question]), context, row[self.answer], cluster, item, meta=meta
            )

    def score(self, sample: Sample, answer: Answer) -> tuple[Score, ...]:
        """The metric's verdict."""
        text = answer.text or ""
        if self.metric in OWN_METRICS:
            golds = sample.target if isinstance(sample.target, list) else [sample.target]
            return (OWN_METRICS[self.metric]([str(gold) for gold in golds], text),)
        row = {**sample.meta, "gold": sample.target, "output": text}
        try:
            got = SCORERS[self.metric](row)
        except KeyError as error:
            raise ConfigError(
                f"metric={self.metric} needs the column {error} in {self.path}"
            ) from error
        value = got["score"]
        flag = "the reference raises" if value is None else None
        value = 0.0 if value is None else float(value)
        return (Score(self.metric, value, version="2", flag=flag),)  # 1 read thoughts as answers

    def gold_answer(self, sample: Sample) -> Answer:
        """The first accepted answer; all of them for RULER's recall."""
        if isinstance(sample.target, list):
            every = self.metric == "ruler_all"
            golds = [str(gold) for gold in sample.target]
            return Answer(", ".join(golds) if every else golds[0])
        return Answer(str(sample.target))

    def floors(self) -> Mapping[str, Floor]:
        """The question itself, repeated."""
        return {"echo_question": lambda sample: sample.question}
