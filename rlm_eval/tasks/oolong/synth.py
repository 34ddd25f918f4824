"""OOLONG-synth, the benchmark's own data (arXiv:2511.02817; `oolongbench/oolong-synth`).

Reads the rows of one source data set (or of all) and one length: the split is gigabytes, the rows
are 50. Questions alternate between the windows, so that a small n covers several. The RLM paper
(arXiv:2512.24601) uses trec_coarse, which is in the *validation* split. Nominal lengths
over-estimate modern tokenizers by about a third; samples record measured tokens. Generated data are
in `oolong_gen`.
"""

from __future__ import annotations

import functools
import itertools
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Any, ClassVar

from rlm_eval.core.errors import ConfigError
from rlm_eval.core.types import Density, Sample
from rlm_eval.scoring.oolong import is_answer_type, read_gold
from rlm_eval.tasks.base import Draft
from rlm_eval.tasks.baselines import Baseline
from rlm_eval.tasks.dates import MONTHS, read_day, read_month
from rlm_eval.tasks.hub import LoadedTask
from rlm_eval.tasks.hub_rows import HubRows, hub_or_file
from rlm_eval.tasks.oolong.baselines import Prior, skimmers, without_labels
from rlm_eval.tasks.oolong.floors import Questions
from rlm_eval.tasks.oolong.read import read_question
from rlm_eval.tasks.oolong.window import Row, line_spans, parse
from rlm_eval.tasks.rows import in_turns

REPOSITORY = "oolongbench/oolong-synth"
REVISION = "f0d59eaf0febf130664cfceb710436c8e3216b2b"
"""June 2026, with the card's correction (before: 49898a421f4b14f2c9cae084d2d270f930ff4c90)."""
VALIDATION = ("trec_coarse", "spam")
TEST = ("imdb", "agnews", "negation", "yahoo", "formality", "multinli", "metaphors", "app_reviews")
EVERY = "all"
"""Value for `dataset` that selects all of them."""
PLAIN: tuple[str, ...] = ("id", "context_len", "dataset", "context_window_id", "question", "answer")
PLAIN = (*PLAIN, "answer_type", "task", "task_group", "input_subset")
"""Columns in addition to the text."""
CORE_GAP = 0.05
"""Maximum difference of two counts in the core subset, as a share of the lines in question."""
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


def synth_sources(
    revision: str, dataset: str, length: int, columns: Sequence[str]
) -> tuple[HubRows, ...]:
    """The rows of a data set, or of `all`, at a nominal length: one source per split."""
    found = []
    for split, names in (("validation", VALIDATION), ("test", TEST)):
        if wanted := tuple(name for name in names if dataset in (name, EVERY)):
            where = (("dataset", "in", wanted), ("context_len", "==", length))
            found.append(HubRows(REPOSITORY, revision, split, None, tuple(columns), where))
    return tuple(found)


def synth_rows(path: str | None, sources: Sequence[HubRows]) -> Iterator[dict[str, Any]]:
    """Yield the rows of the sources, from a local file or the hub."""
    return itertools.chain.from_iterable(hub_or_file(path, source) for source in sources)


_LABELLED = "context_window_text_with_labels"
_TEXTS = ("context_window_text", _LABELLED)
_WINDOW = ("context_len", "dataset", "context_window_id", *_TEXTS)


def window_sources(length: int, revision: str = REVISION) -> tuple[HubRows, ...]:
    """The rows that `hub_windows` reads."""
    return synth_sources(revision, "trec_coarse", length, _WINDOW)


def hub_windows(
    length: int, path: str | None, revision: str = REVISION
) -> Iterator[dict[str, Any]]:
    """Yield the distinct trec_coarse windows of a nominal length, labelled text included."""
    seen = set()
    for row in synth_rows(path, window_sources(length, revision)):
        if row["context_window_id"] not in seen:
            seen.add(row["context_window_id"])
            yield row


def scope(question: str) -> str:
    """The part of the window in question: `global`, `user`, `month` or `range`."""
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
    """The source data set, or `all` ten: 20 windows per length."""
    revision: str = REVISION
    """Revision of the hub's data set."""
    surface: str = "official"
    """`official` (the question alone) or `rlm` (with the RLM paper's paragraph; trec_coarse)."""
    with_labels: bool = False
    """Show each line's label, which leaves only counting."""
    subset: str = "all"
    """`all`, or `core`: questions about the whole window or a date range that need labels, with
    comparisons and most or least common labels only where the counts differ by at most 5 % of the
    lines. A string search or a sample of the lines answers most of the others."""

    per_cluster: ClassVar[int] = 25
    # 1: one evidence span for all lines, where a question is about them
    # 2: windows in sequence; windows of two lengths with the same number in one cluster
    VERSION: ClassVar[int] = 3
    density: ClassVar[Density] = Density.LINEAR
    operation: ClassVar[str | None] = "count"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.dataset not in (*VALIDATION, *TEST, EVERY):
            known = ", ".join((*VALIDATION, *TEST, EVERY))
            raise ValueError(f"dataset={self.dataset}: one of {known}")
        if self.surface not in ("official", "rlm"):
            raise ValueError(f"surface={self.surface}: official or rlm")
        if self.subset not in ("all", "core"):
            raise ValueError(f"subset={self.subset}: all or core")
        if self.surface == "rlm" and self.dataset != "trec_coarse":
            raise ValueError("surface=rlm is a paragraph about trec_coarse")

    @property
    def most_clusters(self) -> int:
        """Number of windows of a length in the data: two per source data set."""
        return 2 * (len((*VALIDATION, *TEST)) if self.dataset == EVERY else 1)

    @property
    def wider(self) -> str:
        """The setting that gives more windows of the same length; empty = none."""
        return "" if self.dataset == EVERY else f"task.dataset={EVERY}"

    @property
    def _rows(self) -> tuple[HubRows, ...]:
        return synth_sources(self.revision, self.dataset, self.length, (*PLAIN, self._text))

    @property
    def _text(self) -> str:
        return "context_window_text" + ("_with_labels" if self.with_labels else "")

    def sources(self) -> Sequence[HubRows]:
        """See `LoadedTask`."""
        if self.path is not None:
            return ()
        return (*self._rows, *_labelled_sources(self.revision, self.dataset, self.length))

    def drafts(self) -> Iterator[Draft]:
        """Yield the windows alternately, their rows in order, each question of a window once.

        The generator appended one T7 row per qualifying month, so that one question has several
        golds; only the earliest month is correct.
        """
        texts: dict[str, str] = {}
        kept: dict[tuple[str, str], dict[str, Any]] = {}
        for row in synth_rows(self.path, self._rows):
            window = f"{row['dataset']}|{self.length}|{row['context_window_id']}"
            texts.setdefault(window, row[self._text])
            plain = {name: row[name] for name in PLAIN}  # one copy of each text, not one per row
            first = kept.setdefault((window, row["question"]), plain)
            with self.reading(f"row {row['id']}"):
                if "MONTH_YEAR" in row["answer_type"] and _month(plain) < _month(first):
                    kept[window, row["question"]] = plain
        if self.subset == "core":
            rows_of = {window: self._labelled_rows(window) for window in texts}
            kept = {key: row for key, row in kept.items() if _is_core(key[1], rows_of[key[0]])}
            if texts and not kept:
                raise ConfigError(f"{self.name}: no question is in the core subset; use subset=all")
        if not kept:
            raise ConfigError(
                f"{self.name}: no row has dataset={self.dataset} and context_len={self.length}; "
                "lengths are powers of 2"
            )
        tokens = {window: self.counter.count(text) for window, text in texts.items()}
        for window, row in in_turns([(window, row) for (window, _), row in kept.items()]):
            with self.reading(f"row {row['id']}"):
                draft = self._draft(row, window, texts[window], tokens[window])
            yield draft

    def gold_fault(self, sample: Sample) -> str | None:
        """See `LoadedTask`."""
        kind = sample.meta["answer_type"]
        if not is_answer_type(kind):
            return f"has the answer_type {kind}, whose form is that of ANSWER_TYPE.NUMERIC"
        return super().gold_fault(sample)

    def _draft(self, row: Mapping[str, Any], window: str, text: str, tokens: int) -> Draft:
        question = str(row["question"])
        key = f"oolong_synth|{window}"
        meta: dict[str, Any] = {
            name: str(row[name]) for name in ("answer_type", "task", "task_group", "input_subset")
        }
        meta |= {"dataset": str(row["dataset"]), "row": str(row["id"])}
        meta |= {"scope": scope(question), "lines": len(line_spans(text))}
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

    def baselines(self) -> Sequence[Baseline]:
        """See `oolong_baselines`; the skimmers read the window's labelled text (hub, or path=)."""
        prior = Prior()
        return [*without_labels(prior), *skimmers(self._labelled, prior)]

    def _labelled(self, sample: Sample) -> Sequence[Row]:
        return self._labelled_rows(sample.cluster.partition("|")[2])

    def _labelled_rows(self, window: str) -> Sequence[Row]:
        """The rows of a window with their labels, loaded once for all windows of the length."""
        return _labelled_windows(self.path, self.revision, self.dataset, self.length)[window]


def _labelled_sources(revision: str, dataset: str, length: int) -> tuple[HubRows, ...]:
    columns = ("context_len", "dataset", "context_window_id", _LABELLED)
    return synth_sources(revision, dataset, length, columns)


@functools.lru_cache(maxsize=1)
def _labelled_windows(
    path: str | None, revision: str, dataset: str, length: int
) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = {}
    for row in synth_rows(path, _labelled_sources(revision, dataset, length)):
        window = f"{row['dataset']}|{length}|{row['context_window_id']}"
        if window not in found:
            found[window] = parse(row[_LABELLED])
    return found


def _is_core(question: str, rows: Sequence[Row]) -> bool:
    """True for a core-subset question about a window with those labelled rows."""
    read = read_question(question)
    if read is None or read[0].scope not in ("global", "range"):
        return False
    form = read[0]
    if form.kind in ("U1", "U2", "T1", "T2", "T3", "T7"):
        return False
    counts = Counter(row.label for row in rows if form.holds(row))
    most = CORE_GAP * counts.total()
    if form.kind == "C3":
        return abs(counts[form.a] - counts[form.b]) <= most
    if form.kind in ("C1", "C2"):
        ranked = sorted(counts.values(), reverse=form.kind == "C1")
        return len(ranked) > 1 and abs(ranked[0] - ranked[1]) <= most
    return True
