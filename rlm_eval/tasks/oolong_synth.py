"""OOLONG-synth, the benchmark's own data (arXiv:2511.02817; `oolongbench/oolong-synth`).

Streams the rows of one source data set and one length: the split is gigabytes, the rows are 50.
The RLM paper (arXiv:2512.24601) uses trec_coarse, which is in the *validation* split. Nominal
lengths over-estimate modern tokenizers by about a third; samples carry measured tokens.
Not here: generated data (`oolong_gen`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import date
from typing import Any, ClassVar

from rlm_eval.errors import ConfigError
from rlm_eval.scoring.oolong import read_gold
from rlm_eval.tasks.base import Draft
from rlm_eval.tasks.dates import MONTHS, read_day, read_month
from rlm_eval.tasks.hub import Condition, LoadedTask, file_rows, hub_rows
from rlm_eval.tasks.oolong_floors import Questions
from rlm_eval.tasks.oolong_window import line_spans
from rlm_eval.types import Density, Sample

REPOSITORY = "oolongbench/oolong-synth"
REVISION = "f0d59eaf0febf130664cfceb710436c8e3216b2b"
"""June 2026, with the card's correction (before: 49898a421f4b14f2c9cae084d2d270f930ff4c90)."""
VALIDATION = ("trec_coarse", "spam")
TEST = ("imdb", "agnews", "negation", "yahoo", "formality", "multinli", "metaphors", "app_reviews")
PLAIN: tuple[str, ...] = ("id", "context_len", "dataset", "context_window_id", "question", "answer")
PLAIN = (*PLAIN, "answer_type", "task", "task_group", "input_subset")
"""Columns beside the text."""
_USERS = re.compile(r"associated with user IDs ([\d, ]+)\. Among")
_MONTH = re.compile(r"instances that occur in (\w+) of any year\.")
_RANGE = re.compile(r"instances that occur between (.+?) and (.+?), inclusive\.")
_RLM_PREFIX = (
    "The lines that follow hold thousands of general-knowledge questions, one on each line. Every "
    "line has a User ID, which need not be unique, an instance (the question itself) and sometimes "
    "a date. The answer to each question falls into one of 6 categories: 'numeric value', "
    "'entity', 'location', 'description and abstract concept', 'abbreviation', 'human being'. No "
    "line states its category: it has to be inferred from the question. Do not guess or "
    "approximate.\n\n"
    "Answer the following: "
)
"""The RLM paper's paragraph before each question, in our words."""


def synth_rows(
    path: str | None, revision: str, where: list[Condition], columns: list[str]
) -> Iterator[dict[str, Any]]:
    """Rows of the data set that meet the conditions, from a local file or the hub."""
    if path is not None:
        return file_rows(path, where)
    dataset = next(value for column, _, value in where if column == "dataset")
    split = "validation" if dataset in VALIDATION else "test"
    return hub_rows(REPOSITORY, revision, split, columns=columns, where=where)


def hub_windows(
    length: int, path: str | None, revision: str = REVISION
) -> Iterator[dict[str, Any]]:
    """The distinct trec_coarse windows of a nominal length, labelled text included."""
    columns = ["context_len", "dataset", "context_window_id"]
    columns += ["context_window_text", "context_window_text_with_labels"]
    where: list[Condition] = [("dataset", "==", "trec_coarse"), ("context_len", "==", length)]
    seen = set()
    for row in synth_rows(path, revision, where, columns):
        if row["context_window_id"] not in seen:
            seen.add(row["context_window_id"])
            yield row


def scope(question: str) -> str:
    """What part of the window a question is about: `global`, `user`, `month` or `range`."""
    found = {"user": _USERS, "month": _MONTH, "range": _RANGE}
    return next((name for name, form in found.items() if form.search(question)), "global")


def evidence(question: str, text: str) -> tuple[tuple[int, int], ...]:
    """Spans of the lines that the question is about."""
    spans = line_spans(text)
    users, month, days = (form.search(question) for form in (_USERS, _MONTH, _RANGE))
    if users is None and month is None and days is None:
        return tuple(spans)
    wanted = {int(user) for user in re.findall(r"\d+", users[1])} if users else set()
    low, high = (read_day(days[i]) for i in (1, 2)) if days else (None, None)
    found = []
    for start, end in spans:
        head = text[start:end].split(" || ", 2)
        day = read_day(head[0].removeprefix("Date: "))
        if (
            (users and int(head[1].removeprefix("User: ")) in wanted)
            or (month and MONTHS[day.month - 1] == month[1])
            or (low and high and low <= day <= high)
        ):
            found.append((start, end))
    return tuple(found)


def _month(row: Mapping[str, Any]) -> date:
    return read_month(str(read_gold(row["answer"])[0]))


@dataclass(frozen=True)
class OolongSynth(Questions, LoadedTask):
    """See the module's docstring."""

    name: str = "oolong_synth"
    """Name in tables."""
    length: int = 131072
    """Nominal tokens (`context_len`): a power of 2 from 1024 to 4194304."""
    dataset: str = "trec_coarse"
    """The source data set."""
    revision: str = REVISION
    """Revision of the hub's data set."""
    surface: str = "official"
    """`official` (the question alone) or `rlm` (with the RLM paper's paragraph; trec_coarse)."""
    with_labels: bool = False
    """Show each line's label: leaves only counting."""

    per_cluster: ClassVar[int] = 25
    most_clusters: ClassVar[int] = 2  # windows that the data set has of a length
    VERSION: ClassVar[int] = 2  # 1: one evidence span for all lines, where a question is about them
    density: ClassVar[Density] = Density.LINEAR
    operation: ClassVar[str | None] = "count"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.dataset not in (*VALIDATION, *TEST):
            raise ValueError(f"dataset={self.dataset}: one of {', '.join((*VALIDATION, *TEST))}")
        if self.surface not in ("official", "rlm"):
            raise ValueError(f"surface={self.surface}: official or rlm")
        if self.surface == "rlm" and self.dataset != "trec_coarse":
            raise ValueError("surface=rlm is a paragraph about trec_coarse")

    def drafts(self) -> Iterator[Draft]:
        """The rows in their order, each question of a window once.

        The generator appended one T7 row per qualifying month, so that one question has several
        golds; only the earliest month is right.
        """
        column = "context_window_text" + ("_with_labels" if self.with_labels else "")
        where: list[Condition] = [("dataset", "==", self.dataset)]
        where += [("context_len", "==", self.length)]
        texts: dict[str, str] = {}
        kept: dict[tuple[str, str], dict[str, Any]] = {}
        for row in synth_rows(self.path, self.revision, where, [*PLAIN, column]):
            window = str(row["context_window_id"])
            texts.setdefault(window, row[column])
            plain = {name: row[name] for name in PLAIN}  # one copy of each text, not one a row
            first = kept.setdefault((window, row["question"]), plain)
            if "MONTH_YEAR" in row["answer_type"] and _month(plain) < _month(first):
                kept[window, row["question"]] = plain
        if not kept:
            raise ConfigError(
                f"{self.name}: no row has dataset={self.dataset} and context_len={self.length}; "
                "lengths are powers of 2"
            )
        tokens = {window: self.counter.count(text) for window, text in texts.items()}
        for (window, _), row in kept.items():
            yield self._draft(row, texts[window], tokens[window])

    def _draft(self, row: Mapping[str, Any], text: str, tokens: int) -> Draft:
        question = str(row["question"])
        key = f"oolong_synth|{self.dataset}|{row['context_window_id']}"
        meta: dict[str, Any] = {
            name: str(row[name]) for name in ("answer_type", "task", "task_group", "input_subset")
        }
        meta |= {"row": str(row["id"]), "scope": scope(question), "lines": len(line_spans(text))}
        return Draft(
            (_RLM_PREFIX if self.surface == "rlm" else "") + question,
            text,
            str(row["answer"]),
            cluster=key,
            item=f"{key}|{row['id']}",
            tokens=tokens,
            evidence=evidence(question, text),
            meta=meta,
        )

    def samples(self) -> Iterator[Sample]:
        """The samples, keyed by the nominal length."""
        return (replace(sample, length=self.length) for sample in super().samples())
