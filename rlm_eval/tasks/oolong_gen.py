"""`oolong_gen`: our licence-clean data of OOLONG-synth's shape (trec_coarse), never its name.

Windows and questions follow the benchmark (arXiv:2511.02817), with its generator's faults repaired
and with comparisons that a sample of the lines cannot answer (30 % of the headline set). The same
question is asked at every length over nested windows, its gold computed anew. Not the hub's data:
that is `oolong_synth`.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any, ClassVar, NamedTuple

from rlm_eval.errors import RlmEvalError
from rlm_eval.tasks import Floor
from rlm_eval.tasks.base import TOLERANCE, Draft, GeneratedTask, fit, rng
from rlm_eval.tasks.oolong_floors import Questions, classified
from rlm_eval.tasks.oolong_golds import Table, reread
from rlm_eval.tasks.oolong_grammar import LABELS
from rlm_eval.tasks.oolong_questions import Form, Gold, ask, forms, official_names, written
from rlm_eval.tasks.oolong_window import (
    Row,
    Window,
    frame,
    line_spans,
    official_lines,
    render,
    reread_labels,
)
from rlm_eval.tokens import get_tokenizer
from rlm_eval.types import Density

LONGEST = 120
"""Tokens kept for any question where the questions of a window share one text."""
_EARLY = 12
_TRIES = 40
_HEADLINE = ("close", "", "", "close", "", "", "close", "same", "", "")
_OTHERS: tuple[str, ...] = (
    "C4",
    "T4",
    "T9",
    "U1",
    "C1",
    "T8",
    "T1",
    "C3range",
    "C2",
    "T3",
    "T7",
    "C1range",
)
_OTHERS = (*_OTHERS, "U4", "T2", "C4range", "U2", "C2range")
_KINDS = {
    "user": ("C1user", "C4user", "C3user", "U5", "C2user"),
    "month": ("C1month", "C4month", "C3month", "C2month"),
}


class Text(NamedTuple):
    """A window at a length."""

    rows: list[Row]
    text: str
    tokens: int
    lines: list[tuple[date, int, str]]
    """Read back from the labelled rendering: (date, user, label)."""


@functools.lru_cache(maxsize=1)
def base_window(seed: int, number: int, tokenizer: str) -> Window:
    """Window `number` of a seed, shared by all lengths."""
    return Window(f"oolong_gen|{seed}|{number}", get_tokenizer(tokenizer).cost)


@functools.lru_cache(maxsize=1)
def window_text(
    seed: int, number: int, tokenizer: str, room: int, length: int, lines: int, labelled: bool
) -> Text:
    """The window cut to `room` tokens, or to `lines` lines where that is not 0."""
    window, counter = base_window(seed, number, tokenizer), get_tokenizer(tokenizer)
    labels, made = window.priors.order, list[Row]()

    def make(budget: float, slack: float) -> str:
        frames = counter.count("".join(frame(round(budget / 35), labels)))
        made[:] = window.arranged(window.fill(budget - frames, slack))
        return render(made, labels)

    if lines:
        made[:] = window.arranged(window.first(lines))
        text = render(made, labels)
        tokens = counter.count(text)
    else:
        text, tokens = fit(make, room, length, counter)
    if labelled:
        text = render(made, labels, with_labels=True)
        tokens = counter.count(text)
    return Text(made, text, tokens, reread_labels(made))


@dataclass(frozen=True)
class OolongGen(Questions, GeneratedTask):
    """See the module's docstring."""

    name: str = "oolong_gen"
    """Name in tables."""
    size: str = "tokens"
    """`tokens` (the length is exact) or `official_lines` (the benchmark's lines per length)."""
    scope: str = "headline"
    """`headline` (whole window and date ranges), `user` or `month` (subsets a filter finds)."""
    questions_per_window: int = 5
    """Questions that share a base window; they are one cluster."""
    with_labels: bool = False
    """Show each line's label: the ablation that leaves only counting. The text is then longer."""

    VERSION: ClassVar[int] = 2
    CLUSTER_FIELD: ClassVar[str] = "questions_per_window"
    density: ClassVar[Density] = Density.LINEAR
    operation: ClassVar[str | None] = "count"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.size not in ("tokens", "official_lines"):
            raise ValueError(f"size={self.size}: tokens or official_lines")
        if self.scope not in ("headline", *_KINDS):
            raise ValueError(f"scope={self.scope}: headline, {', '.join(_KINDS)}")
        if self.questions_per_window < 1:
            raise ValueError(f"questions_per_window={self.questions_per_window}: 1 or more")

    @property
    def per_cluster(self) -> int:
        """Samples of one base window."""
        return self.questions_per_window

    @property
    def exact_length(self) -> bool:
        """Not where the benchmark's line count or the shown labels decide."""
        return self.size == "tokens" and not self.with_labels

    def _kinds(self, index: int) -> Iterator[str]:
        """What sample `index` asks, then what it asks where the window has no clear answer."""
        if self.scope != "headline":
            others, start = _KINDS[self.scope], index
        else:
            cycle, place = divmod(index, len(_HEADLINE))
            if _HEADLINE[place]:
                yield f"C3{_HEADLINE[place]}"
            blanks = [not kind for kind in _HEADLINE]
            others, start = _OTHERS, cycle * sum(blanks) + sum(blanks[:place])
        yield from (others[(start + step) % len(others)] for step in range(len(others)))

    def _text(self, window: int, form: Form) -> Text:
        """The window's text beside a question: fitted to it, or one for all where that is exact."""
        room, lines = 0, 0
        if self.size == "official_lines":
            lines = official_lines(self.length)
        elif self.length * TOLERANCE > 2 * LONGEST:
            room = self.length - self.ANSWER_BUDGET - LONGEST
        else:
            room = self.room(ask(form, _UNKNOWN, LABELS))
        return window_text(
            self.seed, window, self.tokenizer, room, self.length, lines, self.with_labels
        )

    def draft(self, index: int) -> Draft:
        """A question over its window, which it shares where the length can absorb that."""
        form, number = _chosen(self, index), index // self.questions_per_window
        made = self._text(number, form)
        gold = Table(made.rows).gold(form)
        assert gold is not None
        return self._draft(form, gold, made, base_window(self.seed, number, self.tokenizer))

    def choose(self, index: int) -> Form:
        """The question of a sample: the first of its kinds that the window answers clearly."""
        number = index // self.questions_per_window
        window = base_window(self.seed, number, self.tokenizer)
        first = number * self.questions_per_window
        taken = {_chosen(self, earlier) for earlier in range(first, index)}
        for kind in self._kinds(index):
            source = rng(window.key, "forms", index, kind)
            candidates = forms(kind, window.priors, window.first(_EARLY), source)
            for form in itertools.islice(candidates, _TRIES):
                if form in taken:
                    continue
                gold = Table(self._text(number, form).rows).gold(form)
                if gold is not None and (form.kind != "C3" or gold.margin or kind == "C3same"):
                    return form
        raise RlmEvalError(f"{self.name}: window {number} answers no question; use a longer length")

    def _draft(self, form: Form, gold: Gold, made: Text, window: Window) -> Draft:
        question = ask(form, gold, window.priors.order)
        again = reread(form, gold, made.lines)
        if again != gold.value:
            raise RlmEvalError(f"{question!r}: gold {gold.value!r}, read back {again!r}")
        # A span a line, also where the question is about all: few methods show the whole block.
        evidence = line_spans(made.text)
        users = (form.user, form.other) if form.kind == "U5" else ()
        if form.scope != "global":
            pairs = zip(evidence, made.rows, strict=True)
            evidence = [s for s, row in pairs if (row.user in users if users else form.holds(row))]
        close = kind_is_close(form, gold, made.rows)
        meta: dict[str, Any] = official_names(form) | {
            "kind": form.kind,
            "scope": form.scope,
            "margin": gold.margin,
            "support": gold.support,
            "close": close,
            "lines": len(made.rows),
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

    def floors(self) -> Mapping[str, Floor]:
        """Answers that need no model; see `oolong_floors`."""
        return {**super().floors(), "bag_of_words": classified}


_UNKNOWN = Gold("", 0, 0)


@functools.lru_cache(maxsize=256)
def _chosen(task: OolongGen, index: int) -> Form:
    return task.choose(index)


def kind_is_close(form: Form, gold: Gold, rows: list[Row]) -> bool:
    """True for comparisons whose gap is 0.35 to 0.6 square roots of the count, and 5 or more."""
    if form.kind != "C3" or gold.margin < 5:
        return False
    count = sum(form.holds(row) and row.label in (form.a, form.b) for row in rows) / 2
    return 0.35 <= gold.margin / math.sqrt(count) <= 0.6
