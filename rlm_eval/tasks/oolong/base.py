"""Shared by OOLONG's questions over labelled lines: windows cut to a length, questions, golds.

A task provides the lines' source; a window's questions are the same at every length, and their
golds are recomputed. Used by `oolong_gen` (invented lines) and `oolong_rows` (the user's).
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, ClassVar, NamedTuple

from rlm_eval.core.errors import ConfigError
from rlm_eval.core.tokens import get_tokenizer
from rlm_eval.core.types import Context, Density, Sample
from rlm_eval.tasks import Floor
from rlm_eval.tasks.base import TOLERANCE, Draft, GeneratedTask, fit, make_sample, rng
from rlm_eval.tasks.baselines import Baseline, Kind, Reply
from rlm_eval.tasks.oolong.baselines import Prior, by_label, skimmers, without_labels
from rlm_eval.tasks.oolong.floors import Questions
from rlm_eval.tasks.oolong.golds import Table, reread
from rlm_eval.tasks.oolong.grammar import Source
from rlm_eval.tasks.oolong.lines import keyword_rules
from rlm_eval.tasks.oolong.questions import Form, Gold, ask, forms, official_names, written
from rlm_eval.tasks.oolong.users import OOLONG_USERS, Mix
from rlm_eval.tasks.oolong.window import (
    BLOCK,
    FEWEST,
    Row,
    Window,
    frame,
    line_spans,
    official_lines,
    render,
    reread_labels,
)

LONGEST = 120
"""Tokens reserved for any question where the questions of a window share one text."""
_EARLY = 12
_TRIES = 40
_PAIRS = ("close", "", "", "close", "", "", "close", "same", "", "")
"""Comparisons among ten headline questions: of close labels, and of equally frequent ones."""
_OTHERS = ("C4", "T4", "T8", "C2close", "T9", "C4range", "T4", "T8", "C3range", "T9", "C4", "T8")
"""The other kinds, in turn. C1 over more than two labels and U4 are excluded: a quarter of the
lines answers them."""
_KINDS = {
    "user": ("C1user", "C4user", "C3user", "U5", "C2user"),
    "month": ("C1month", "C4month", "C3month", "C2month"),
    "easy": ("U1", "C1", "T1", "U4", "T3", "T7", "U2", "C1range", "T2"),
}
"""Questions that need few lines or no labels: a separate scope, so that they raise no headline
score."""
_WHOLE = ("C3close", "C4", "C2close", "C3same", "C4", "C2close")
"""Questions about labels of all lines only, for models that cannot combine them with dates or
users."""
SCOPES = ("headline", "whole", *_KINDS)


class Text(NamedTuple):
    """A window at one length."""

    rows: list[Row]
    text: str
    tokens: int
    lines: list[tuple[date, int, str]]
    """(date, user, label) per line, parsed back from the labelled rendering."""


@functools.lru_cache(maxsize=1)
def base_window(
    source: Source, key: str, tokenizer: str, block: int = BLOCK, mix: Mix = OOLONG_USERS
) -> Window:
    """The window of that key; the same object for all lengths."""
    return Window(key, get_tokenizer(tokenizer).cost, source, block, mix)


@functools.lru_cache(maxsize=1)
def window_text(
    source: Source,
    key: str,
    tokenizer: str,
    room: int,
    length: int,
    lines: int,
    labelled: bool = False,
    block: int = BLOCK,
    mix: Mix = OOLONG_USERS,
) -> Text:
    """The window cut to `room` tokens, or to `lines` lines where that is not 0."""
    window, counter = base_window(source, key, tokenizer, block, mix), get_tokenizer(tokenizer)
    order, made = window.priors.order, list[Row]()

    def make(budget: float, slack: float) -> str:
        frames = counter.count("".join(frame(round(budget / 35), source, order)))
        made[:] = window.arranged(window.fill(budget - frames, slack))
        return render(made, order, source=source)

    if lines:
        made[:] = window.arranged(window.first(lines))
        text = render(made, order, source=source)
        tokens = counter.count(text)
    else:
        text, tokens = fit(make, room, length, counter)
    if labelled:
        text = render(made, order, with_labels=True, source=source)
        tokens = counter.count(text)
    return Text(made, text, tokens, reread_labels(made))


@dataclass(frozen=True)
class LabelledWindows(Questions, GeneratedTask):
    """OOLONG's questions over windows of labelled lines; a subclass defines the lines' source."""

    size: str = "tokens"
    """`tokens` (the length is exact) or `official_lines` (the benchmark's lines per length)."""
    scope: str = "headline"
    """`headline` (whole window and long date ranges), `whole` (labels of the whole window, without
    dates: close and equal comparisons, counts, the least common label), `user` or `month` (subsets
    that a filter finds), `easy` (users and dates alone, or a quarter of the lines, suffice: the
    most common label, the user with most of one label, the first month of one)."""
    questions_per_window: int = 5
    """Questions that share a base window; they form one cluster."""
    with_labels: bool = False
    """Show each line's label: an ablation that leaves only counting. The text is then longer."""

    CLUSTER_FIELD: ClassVar[str] = "questions_per_window"
    BLOCK: ClassVar[int] = BLOCK
    density: ClassVar[Density] = Density.LINEAR
    operation: ClassVar[str | None] = "count"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.size not in ("tokens", "official_lines"):
            raise ValueError(f"size={self.size}: tokens or official_lines")
        if self.scope not in SCOPES:
            raise ValueError(f"scope={self.scope}: one of {', '.join(SCOPES)}")
        if self.questions_per_window < 1:
            raise ValueError(f"questions_per_window={self.questions_per_window}: 1 or more")

    @abstractmethod
    def source(self) -> Source:
        """The lines' source; equal configurations share one object."""

    @abstractmethod
    def window_key(self, number: int) -> str:
        """Seed parts from which window `number` is drawn, separated by `|`."""

    @property
    def per_cluster(self) -> int:
        """Samples of one base window."""
        return self.questions_per_window

    @property
    def solved_by_code(self) -> bool:  # type: ignore[override]  # depends on the scope
        """True where a filter or a count answers by design: restricted, easy, labels shown."""
        return self.scope in _KINDS or self.with_labels

    @property
    def exact_length(self) -> bool:
        """False where the benchmark's line count or the shown labels determine the length."""
        return self.size == "tokens" and not self.with_labels

    def window(self, number: int) -> Window:
        """Base window `number`; sample i is about window i // `questions_per_window`."""
        return base_window(self.source(), self.window_key(number), self.tokenizer, self.BLOCK)

    def _kinds(self, index: int, two: bool) -> Iterator[str]:
        """Kinds of question for sample `index`; later ones where no answer is clear."""
        if self.scope != "headline":
            others, start = _KINDS.get(self.scope, _WHOLE), index
        else:
            cycle, place = divmod(index, len(_PAIRS))
            if _PAIRS[place]:
                yield f"C3{_PAIRS[place]}"
            blanks = [not kind for kind in _PAIRS]
            others, start = _OTHERS, cycle * sum(blanks) + sum(blanks[:place])
        for step in range(len(others)):
            kind = others[(start + step) % len(others)]
            yield "C1close" if two and kind == "C2close" and start % 2 else kind

    def text(self, number: int, form: Form) -> Text:
        """The window's text for a question: fitted to it, or shared by all where that is exact."""
        room, lines, source = 0, 0, self.source()
        if self.size == "official_lines":
            lines = official_lines(self.length)
        elif self.shared_text:
            room = self.length - self.ANSWER_BUDGET - LONGEST
        else:
            room = self.room(ask(form, _UNKNOWN, source.labels))
        key = self.window_key(number)
        return window_text(
            source, key, self.tokenizer, room, self.length, lines, self.with_labels, self.BLOCK
        )

    def draft(self, index: int) -> Draft:
        """A question over its window, shared where the length can absorb the difference."""
        form, number = _chosen(self, index), index // self.questions_per_window
        made = self.text(number, form)
        gold = Table(made.rows, self.source().labels).gold(form)
        assert gold is not None
        return self._draft(form, gold, made, self.window(number))

    def sketch(self, index: int) -> Sample:
        """Sample `index` with its question and gold, without its text."""
        drafted = self.draft(index)
        context = Context("", 0, 0, self.tokenizer, lambda: "")
        return make_sample(self.name, index, self.length, drafted, context, None)

    def choose(self, index: int) -> Form:
        """Choose a sample's question: the first of its kinds with a clear answer in the window.

        Raises `ConfigError` where there is none.
        """
        number, labels = index // self.questions_per_window, self.source().labels
        window = self.window(number)
        first = number * self.questions_per_window
        taken = {_chosen(self, earlier) for earlier in range(first, index)}
        for kind in self._kinds(index, len(labels) == 2):
            source = rng(window.key, "forms", index, kind)
            candidates = forms(kind, window.priors, window.first(_EARLY), source)
            for form in itertools.islice(candidates, _TRIES):
                if form in taken:
                    continue
                if all(
                    self._clear(Table(rows(number, form), labels).gold(form), kind)
                    for rows in (self._about, lambda *asked: self.text(*asked).rows)
                ):
                    return form
        raise ConfigError(
            f"{self.name}: window {number} of length={self.length} answers fewer questions than "
            f"questions_per_window={self.questions_per_window}; use a longer length or fewer"
        )

    def floors(self) -> Mapping[str, Floor]:
        """Answers without a model; see `oolong_floors`."""
        return {**super().floors(), "bag_of_words": lambda s: self._bag_of_words()(s).text}

    def baselines(self) -> Sequence[Baseline]:
        """See `oolong_baselines`."""
        prior = self._constants
        found = [*without_labels(prior), *skimmers(self.labelled, prior)]
        words = self.keywords()
        if words:
            rules = by_label(keyword_rules(words), prior)
            found.append(Baseline("keyword_rules", Kind.NO_MODEL, rules))
        return [*found, Baseline("bag_of_words", Kind.BAG_OF_WORDS, self._bag_of_words())]

    def keywords(self) -> Mapping[str, Sequence[str]]:
        """Label -> keywords; empty = no such baseline."""
        return {}

    @abstractmethod
    def classifier(self) -> Callable[[str], str]:
        """The trained classifier for `bag_of_words`."""

    def _bag_of_words(self) -> Callable[[Sample], Reply]:
        return by_label(self.classifier(), self._constants)

    def _constants(self, sample: Sample) -> str:
        """The best constant; computed on first use, because it draws other samples."""
        return _prior(dataclasses.replace(self, n=1))(sample)

    def labelled(self, sample: Sample) -> Sequence[Row]:
        """The rows of a sample's window with their labels, in order."""
        number = int(sample.cluster.rpartition("|")[2])
        return self.text(number, Form.read(sample.item.partition("|")[2])).rows

    @staticmethod
    def _clear(gold: Gold | None, kind: str) -> bool:
        return gold is not None and (kind[:2] != "C3" or bool(gold.margin) or kind == "C3same")

    def _about(self, number: int, form: Form) -> Sequence[Row]:
        """Approximately the rows of `text`, without fitting it (a hundred times faster)."""
        if self.size == "official_lines" or self.shared_text:
            return self.text(number, form).rows
        source, window, counter = self.source(), self.window(number), self.counter
        room = self.room(ask(form, _UNKNOWN, source.labels))
        around = counter.count("".join(frame(round(room / 35), source, window.priors.order)))
        return window.first(window.fitting(room - around)[0])

    @property
    def shared_text(self) -> bool:
        """True where a window's questions share one text: its length can absorb any of them."""
        return self.length * TOLERANCE > 2 * LONGEST

    def _draft(self, form: Form, gold: Gold, made: Text, window: Window) -> Draft:
        question = ask(form, gold, window.priors.order)
        again = reread(form, gold, made.lines)
        if again != gold.value:
            raise ConfigError(f"{question!r}: gold {gold.value!r}, read back {again!r}")
        # One span per line, even where the question covers all: few methods show the whole block.
        evidence = line_spans(made.text)
        users = (form.user, form.other) if form.kind == "U5" else ()
        if form.scope != "global":
            pairs = zip(evidence, made.rows, strict=True)
            evidence = [s for s, row in pairs if (row.user in users if users else form.holds(row))]
        meta: dict[str, Any] = official_names(form) | {
            "kind": form.kind,
            "scope": form.scope,
            "margin": gold.margin,
            "support": gold.support,
            "close": kind_is_close(form, gold, made.rows),
            "lines": len(made.rows),
            "labels": len(window.source.labels),
            "size": self.size,
        }
        return Draft(
            question,
            made.text,
            written(gold.value),
            cluster=window.key,
            item=f"{window.key.replace('|', '/')}|{form.written}",
            tokens=made.tokens,
            evidence=tuple(evidence),
            meta=meta,
        )


_UNKNOWN = Gold("", 0, 0)
_OTHER_SEED = 100_003
_KNOWN_TOKENS = 2**20
"""Tokens of the windows of other seeds whose golds give the prior."""


@functools.lru_cache(maxsize=16)
def _prior(task: LabelledWindows) -> Prior:
    """The best constants, from the golds of 20 to 100 samples of another seed."""
    n = max(20, min(100, _KNOWN_TOKENS // task.length))
    other = dataclasses.replace(task, seed=task.seed + _OTHER_SEED, n=n)
    return Prior([other.sketch(index) for index in range(n)])


@functools.lru_cache(maxsize=256)
def _chosen(task: LabelledWindows, index: int) -> Form:
    return task.choose(index)


def kind_is_close(form: Form, gold: Gold, rows: list[Row]) -> bool:
    """True for comparisons with a gap of 0.35 to 0.6 square roots of the count, and at least 3."""
    if form.kind != "C3" or gold.margin < FEWEST:
        return False
    count = sum(form.holds(row) and row.label in (form.a, form.b) for row in rows) / 2
    return 0.35 <= gold.margin / math.sqrt(count) <= 0.6
