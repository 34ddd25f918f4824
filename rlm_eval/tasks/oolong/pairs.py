"""OOLONG-Pairs: all pairs of users that satisfy a condition on their labels, 20 queries.

Over the benchmark's own windows (`oolong_pairs`: trec_coarse of `oolongbench/oolong-synth`) or over
ours (`oolong_pairs_gen`), where fewer users write often. A gold is two sets of users, never a list
of up to 2 * 10^7 pairs, and an answer may be an object: as text it exceeds every output limit.
Labelling is linear in the lines and the join is code; the work is quadratic only without code.
arXiv:2512.24601, appendix E.
"""

from __future__ import annotations

import functools
import itertools
import math
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from rlm_eval.core.errors import ConfigError, RlmEvalError
from rlm_eval.core.types import Answer, Density, Sample, Score
from rlm_eval.scoring.pairs import PairSet, pairs_f1, pairs_recommended, read_gold
from rlm_eval.tasks import Floor
from rlm_eval.tasks.base import TOLERANCE, Draft, GeneratedTask
from rlm_eval.tasks.baselines import Baseline, Kind
from rlm_eval.tasks.hub import LoadedTask
from rlm_eval.tasks.hub_rows import HubFile, Source, with_columns
from rlm_eval.tasks.oolong.base import base_window, window_text
from rlm_eval.tasks.oolong.grammar import family
from rlm_eval.tasks.oolong.lines import keyword_rules, trained
from rlm_eval.tasks.oolong.pairs_rules import all_pairs, by_labels, listed, pairs_baselines
from rlm_eval.tasks.oolong.queries import NAMES, ONE_EACH, QUERIES, pairs_of, query_text
from rlm_eval.tasks.oolong.synth import REVISION as WINDOWS_REVISION
from rlm_eval.tasks.oolong.synth import hub_windows, window_sources
from rlm_eval.tasks.oolong.users import Mix
from rlm_eval.tasks.oolong.window import BLOCK, Row, line_spans, official_lines, parse
from rlm_eval.tasks.rows import file_rows

REPOSITORY, REVISION = "mit-oasys/oolong-pairs", "d1e1522b86ac0c169bbc890b0471408aaa29e8fa"
_SUFFIX = (
    "\n\nThe answer must be sorted by the first user ID of each pair, for example "
    "(22740, 35839), (35839, 52032). If there is no answer, return an empty list []."
)


class _Pairs:
    """Shared by both tasks, which define the fields and the samples."""

    VERSION: ClassVar[int] = 2  # 1: one evidence span for all lines

    def score(self, sample: Sample, answer: Answer) -> tuple[Score, ...]:
        """F1 as in the reference, and with the tolerant parser."""
        given = answer.value if isinstance(answer.value, list | tuple | set) else answer.text
        return pairs_f1(sample.target, given), pairs_recommended(sample.target, given)

    def gold_answer(self, sample: Sample) -> Answer:
        """Every pair on a separate line."""
        gold = read_gold(sample.target)
        assert isinstance(gold, PairSet)
        return Answer(listed(gold.pairs()))

    def floors(self) -> Mapping[str, Floor]:
        """`all_pairs` lists every pair of users in the context (F1 19.9 at 32K), `empty` none."""
        return {"all_pairs": all_pairs, "empty": lambda _: "[]"}

    def baselines(self) -> Sequence[Baseline]:
        """Rules over the numbers of lines, and readers of at most a quarter of the lines."""
        return pairs_baselines(self.labelled)

    def labelled(self, sample: Sample) -> Sequence[Row]:
        """The rows of a sample's window with their labels, in order."""
        raise NotImplementedError


def _pairs_draft(
    query: int, question: str, gold: PairSet, text: str, users: int, **more: Any
) -> Draft:
    size = len(gold)
    everyone = users * (users - 1) // 2
    floor = 2 * size / (size + everyone) if size else 0.0
    meta = {"query": query, "pairs": size, "users": users, "floor_all_pairs": floor}
    evidence = tuple(line_spans(text))
    return Draft(question, text, gold.to_json(), evidence=evidence, meta=meta, **more)


def _check_surface(surface: str) -> None:
    if surface not in ("official", "rlm"):
        raise ValueError(f"surface={surface}: official or rlm")


def _surface(question: str, surface: str) -> str:
    return question if surface == "official" else f"Answer the following: {question}{_SUFFIX}"


@dataclass(frozen=True)
class OolongPairsGen(_Pairs, GeneratedTask):
    """The 20 queries over windows of `oolong_gen`; sample i uses query i mod 20."""

    name: str = "oolong_pairs_gen"
    """Name in tables."""
    n: int = QUERIES
    """Samples."""
    surface: str = "rlm"
    """`official` (the query alone) or `rlm` (with the RLM paper's suffix)."""
    size: str = "tokens"
    """`tokens` or `official_lines`, as in `oolong_gen`."""
    queries_per_window: int = QUERIES
    """Queries that share a base window; they form one cluster."""

    # 4: numbers of lines scored .29; 3: listing all pairs scored .2; 2: words revealed labels
    VERSION: ClassVar[int] = 5
    LONGEST: ClassVar[int] = 240
    CLUSTER_FIELD: ClassVar[str] = "queries_per_window"
    density: ClassVar[Density] = Density.QUADRATIC
    operation: ClassVar[str | None] = "join"

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_surface(self.surface)
        if self.size not in ("tokens", "official_lines"):
            raise ValueError(f"size={self.size}: tokens or official_lines")
        if not 1 <= self.queries_per_window <= QUERIES:
            raise ValueError(f"queries_per_window={self.queries_per_window}: 1 to {QUERIES}")

    @property
    def per_cluster(self) -> int:
        """Samples of one base window."""
        return self.queries_per_window

    def draft(self, index: int) -> Draft:
        """A query over its window; at shorter lengths the text is fitted to each query."""
        place, query = index // self.queries_per_window, index % QUERIES + 1
        question = _surface(query_text(query), self.surface)
        number = _rich_window(self.seed, place, self.tokenizer)
        key = _key(self.seed, number)
        asked = self._asked(question, key)
        made, (gold, users) = window_text(*asked), _answers(*asked)
        return _pairs_draft(
            query,
            question,
            gold[query],
            made.text,
            users,
            cluster=key,
            item=f"{key}|{query}",
            tokens=made.tokens,
        )

    def _asked(self, question: str, key: str) -> tuple[Any, ...]:
        """The arguments of `window_text` for a question."""
        room = self.room(question)
        if self.length * TOLERANCE > self.LONGEST:
            room = self.length - self.ANSWER_BUDGET - self.LONGEST
        lines = official_lines(self.length) if self.size == "official_lines" else 0
        return (
            family("question"), key, self.tokenizer, room, self.length, lines, False, BLOCK, MIX,
        )  # fmt: skip

    def baselines(self) -> Sequence[Baseline]:
        """See `_Pairs`; with keyword lists and a bag of words, which has learnt the labels."""
        source = family("question")
        rules = by_labels(keyword_rules(source.keywords))
        learnt = by_labels(lambda text: trained(source).label(text))
        return [
            *super().baselines(),
            Baseline("keyword_rules", Kind.NO_MODEL, rules),
            Baseline("bag_of_words", Kind.BAG_OF_WORDS, learnt),
        ]

    def labelled(self, sample: Sample) -> Sequence[Row]:
        """See `_Pairs`."""
        return window_text(*self._asked(sample.question, sample.cluster)).rows


@functools.lru_cache(maxsize=2)
def _answers(*asked: Any) -> tuple[dict[int, PairSet], int]:
    """The golds of all queries over a window's text, and its users; cached for the 20 queries."""
    rows = window_text(*asked).rows
    return pairs_of(rows), len({row.user for row in rows})


MIX = Mix(
    common=0.5,
    profiles=tuple(
        tuple((NAMES[atom[0]], int(atom[1]), math.inf if atom[2:] else int(atom[1]))
              for atom in role.split())
        for roles in ONE_EACH.values() for role in roles
    ),
)  # fmt: skip
"""Distribution over users in `oolong_pairs_gen`. With OOLONG's, most users meet half of the
conditions, and a list of all pairs scores .2 on average. Here half of the lines are from users who
write once, and the others' users have the labels of one condition each: if their labels were
independent of the user, the numbers of lines alone would score .29 (version 4)."""
_RICH_LINES = (90, 220)
"""Lines (4K and 8K tokens) in which every query must have a pair."""


def _key(seed: int, number: int) -> str:
    """Seed parts from which window `number` is drawn."""
    return f"oolong_pairs_gen|{seed}|{number}"


_SEARCHING = threading.Lock()


@functools.lru_cache(maxsize=8)
def _rich_windows(seed: int, tokenizer: str) -> list[int]:  # noqa: ARG001 they identify the list
    """The indices that `_rich_window` has found, in order; it extends the list."""
    return []


def _rich_window(seed: int, place: int, tokenizer: str) -> int:
    """Index of the `place`-th window in which every query has a pair from 4K tokens on."""
    with _SEARCHING:
        known = _rich_windows(seed, tokenizer)
        number = known[-1] if known else -1
        while len(known) <= place:
            number += 1
            window = base_window(family("question"), _key(seed, number), tokenizer, BLOCK, MIX)
            if all(all(pairs_of(window.first(lines)).values()) for lines in _RICH_LINES):
                known.append(number)
        return known[place]


@dataclass(frozen=True)
class OolongPairs(_Pairs, LoadedTask):
    """The 20 queries over the benchmark's own trec_coarse window of one length."""

    name: str = "oolong_pairs"
    """Name in tables."""
    n: int = QUERIES
    """Number of queries, from the first."""
    length: int = 32768
    """Nominal tokens (`context_len` of the window): a power of 2 from 1024."""
    surface: str = "rlm"
    """`official` (the query alone) or `rlm` (with the RLM paper's suffix)."""
    golds: str = "derived"
    """`derived` (from the labels) or `official` (the published file; both must agree)."""
    golds_path: str | None = None
    """Local copy of the published file; `None` = the hub."""
    revision: str = WINDOWS_REVISION
    """Revision of the windows (`oolongbench/oolong-synth`); the golds' revision is fixed."""

    per_cluster: ClassVar[int] = QUERIES
    most_clusters: ClassVar[int] = 1  # one window per length
    density: ClassVar[Density] = Density.QUADRATIC
    operation: ClassVar[str | None] = "join"

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_surface(self.surface)
        if self.golds not in ("derived", "official"):
            raise ValueError(f"golds={self.golds}: derived or official")

    def drafts(self) -> Iterator[Draft]:
        """The queries over the first window with all users of the published golds."""
        is_published = self.golds == "official"
        users = self._published_users() if is_published else set()
        for window in hub_windows(self.length, self.path, self.revision):
            with self.reading(f"window {window['context_window_id']}"):
                rows = parse(window["context_window_text_with_labels"])
            if users <= {row.user for row in rows}:
                break
        else:
            raise ConfigError(
                f"{self.name}: no trec_coarse window of context_len={self.length} has all users of "
                "the golds; give matching path and golds_path, or golds=derived"
            )
        derived = pairs_of(rows)
        asked = self._checked_questions(derived) if is_published else {}
        for query in range(1, QUERIES + 1):
            question = asked.get(query, query_text(query))
            key = f"oolong_pairs|{self.length}|{window['context_window_id']}"
            yield _pairs_draft(
                query,
                _surface(question, self.surface),
                derived[query],
                window["context_window_text"],
                len({row.user for row in rows}),
                cluster=key,
                item=f"oolong_pairs|{query}",
            )

    def gold_fault(self, sample: Sample) -> None:
        """See `LoadedTask`. None: golds are derived from labels, and list up to 2 * 10^7 pairs."""

    def samples(self) -> Iterator[Sample]:
        """The samples, keyed by the nominal length."""
        return (replace(sample, length=self.length) for sample in super().samples())

    def labelled(self, sample: Sample) -> Sequence[Row]:
        """See `_Pairs`; parsed from the labelled text of the hub's window, or of `path`."""
        wanted = sample.cluster.rpartition("|")[2]
        for window in hub_windows(self.length, self.path, self.revision):
            if str(window["context_window_id"]) == wanted:
                return parse(window["context_window_text_with_labels"])
        raise ConfigError(f"{self.name}: no window {wanted} in the data any more")

    @property
    def _golds_file(self) -> HubFile:
        name = f"data/oolong-pairs-{self.length}.json"
        return HubFile(REPOSITORY, REVISION, name, "task.golds_path")

    def sources(self) -> Sequence[Source]:
        """See `LoadedTask`."""
        found: list[Source] = []
        if self.path is None:
            found += window_sources(self.length, self.revision)
        if self.golds == "official" and self.golds_path is None:
            found.append(self._golds_file)
        return found

    def _published(self) -> Iterator[tuple[int, str, Iterator[tuple[int, int]]]]:
        """Yield (query, question, pairs) of the published file.

        One query at a time: at 1M tokens each has up to 2 * 10^7 pairs."""
        path = str(self.golds_path or self._golds_file.local())
        for row in with_columns(path, file_rows(path), ("id", "question", "answer")):
            yield int(row["id"]), str(row["question"]), _listed(row["answer"])

    def _published_users(self) -> set[int]:
        with self.reading("a row of the golds"):
            return {user for _, _, pairs in self._published() for pair in pairs for user in pair}

    def _checked_questions(self, derived: Mapping[int, PairSet]) -> dict[int, str]:
        """The published questions. Raises `RlmEvalError` where a gold disagrees with the labels."""
        found = {}
        with self.reading("a row of the golds"):
            for query, question, pairs in self._published():
                if not _same(pairs, derived[query]):
                    raise RlmEvalError(
                        f"{self.name}: published gold of query {query} is not the labels'"
                    )
                found[query] = question
        return found


def _listed(answer: Sequence[str]) -> Iterator[tuple[int, int]]:
    for pair in answer:
        first, _, second = pair.strip("() ").partition(",")
        yield int(first), int(second)


def _same(pairs: Iterator[tuple[int, int]], gold: PairSet) -> bool:
    """True where the pairs equal the gold: the same number of distinct pairs, all in the gold.

    As arrays: 16 bytes per pair, where a set of tuples takes 200.
    """
    given = np.fromiter(itertools.chain.from_iterable(pairs), np.int64).reshape(-1, 2)
    given = np.unique(np.sort(given, axis=1), axis=0)
    a, b = (np.fromiter(users, np.int64, len(users)) for users in (gold.a, gold.b))
    first, second = given.T
    inside = np.isin(first, a) & np.isin(second, b) | np.isin(first, b) & np.isin(second, a)
    return len(given) == len(gold) and bool((inside & (first != second)).all())
