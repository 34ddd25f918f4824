"""Answers to OOLONG questions that need no model, and the gold as an answer.

What a score has to beat: one constant per answer type, what users and dates alone give away, and
for our own data a bag of words (naive Bayes trained on texts of the same grammar), which labels
about 99 % of the lines rightly: `oolong_gen` measures reading many lines, not hard reading.
"""

from __future__ import annotations

import functools
import math
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from datetime import date

from rlm_eval.scoring.oolong import oolong_scores, read_gold
from rlm_eval.tasks import Floor
from rlm_eval.tasks.base import rng
from rlm_eval.tasks.oolong_golds import Table
from rlm_eval.tasks.oolong_grammar import LABELS, text_maker
from rlm_eval.tasks.oolong_questions import Form, written
from rlm_eval.tasks.oolong_window import parse
from rlm_eval.types import Answer, Sample, Score

_TRAINING = 1500


def gold_text(sample: Sample) -> str:
    """A synthetic question's gold as an answer in the asked form."""
    gold = read_gold(sample.target)[0]
    kind = str(sample.meta["answer_type"]).rpartition(".")[2]
    if isinstance(gold, date):
        return f"Date: {gold:%m/%d/%Y}"
    return f"{ {'LABEL': 'Label', 'USER': 'User'}.get(kind, 'Answer') }: {gold}"


class Questions:
    """What generated and loaded questions share; the fields and the samples are theirs."""

    def score(self, sample: Sample, answer: Answer) -> tuple[Score, ...]:
        """`official`, `lenient`, `fixed`; counts also by relative error."""
        return oolong_scores(sample.target, sample.meta["answer_type"], answer.text)

    def gold_answer(self, sample: Sample) -> Answer:
        """The gold in the form that the question asks for."""
        return Answer(gold_text(sample))

    def floors(self) -> Mapping[str, Floor]:
        """One constant per answer type, and what users and dates alone give away.

        `no_labels` answers exactly what needs no label (U1, U2, T1, T2, T3), else as the constants.
        """
        return {
            "constant_label": lambda s: _constant(s, "LABEL"),
            "more_common": lambda s: _constant(s, "COMPARISON"),
            "n_over_6": lambda s: _constant(s, "NUMERIC"),
            "no_labels": _no_labels,
            "empty": lambda _: "",
        }


def _constant(sample: Sample, wanted: str | None = None) -> str:
    kind = str(sample.meta["answer_type"]).rpartition(".")[2]
    if wanted not in (None, kind):
        return ""
    if kind == "LABEL":
        listed = sample.question.rpartition("labels: ")[2]
        return f"Label: {listed.split(',')[0].strip('. ')}"
    if kind == "COMPARISON":
        return "Answer: more common than" if "[X] before" not in sample.question else "more common"
    lines = sample.meta["lines"] if sample.meta["scope"] == "global" else len(sample.evidence)
    return f"Answer: {round(lines / 6)}" if kind == "NUMERIC" else ""


def _no_labels(sample: Sample) -> str:
    question = sample.question
    second = "second most" in question
    if "In the above data, which user is represented" in question:
        form = Form("U2" if second else "U1")
    elif "In the above data, which date is represented" in question:
        form = Form("T2" if second else "T1")
    elif "dates are represented exactly" in question:
        form = Form("T3")
    else:
        return _constant(sample)
    gold = Table(parse(sample.context.text())).gold(form)
    return "" if gold is None else _worded(sample, gold.value)


def _worded(sample: Sample, value: str | int | date) -> str:
    return gold_text(replace(sample, target=written(value)))


@functools.cache
def _word_weights() -> tuple[dict[str, tuple[float, ...]], tuple[float, ...]]:
    """Log-probability of each word under each label, and of a word never seen."""
    counts = [Counter[str]() for _ in LABELS]
    for label, counted in zip(LABELS, counts, strict=True):
        make = text_maker(label, rng("bag of words", label))
        for _ in range(_TRAINING):
            counted.update(set(re.findall(r"\w+", make().lower())))
    words = sorted(set().union(*counts))
    weights = {w: tuple(math.log((c[w] + 0.5) / (_TRAINING + 1)) for c in counts) for w in words}
    return weights, (math.log(0.5 / (_TRAINING + 1)),) * len(LABELS)


def bag_of_words(text: str) -> str:
    """The label that the words of a generated text make most probable."""
    weights, unseen = _word_weights()
    found = [weights.get(word, unseen) for word in set(re.findall(r"\w+", text.lower()))]
    sums = [sum(column) for column in zip(*found, strict=True)]
    return LABELS[sums.index(max(sums))]


def classified(sample: Sample) -> str:
    """The answer of exact counting over the labels that `bag_of_words` gives the lines."""
    rows = parse(sample.context.text())
    rows = [row._replace(label=bag_of_words(row.text)) for row in rows]
    gold = Table(rows).gold(Form.read(sample.item.partition("|")[2]))
    return _constant(sample) if gold is None else _worded(sample, gold.value)
