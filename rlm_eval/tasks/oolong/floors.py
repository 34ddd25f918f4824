"""Shared by OOLONG's tasks apart from their samples: scores, the gold as an answer, and floors.

The floors are constants and answers from users and dates alone. Their names are those of stored
reports; baselines that read parts of the text are in `oolong_baselines`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import date

from rlm_eval.core.types import Answer, Sample, Score
from rlm_eval.scoring.oolong import oolong_scores, read_gold
from rlm_eval.tasks import Floor
from rlm_eval.tasks.oolong.golds import Table
from rlm_eval.tasks.oolong.questions import Form, written
from rlm_eval.tasks.oolong.window import parse


def gold_text(sample: Sample) -> str:
    """A synthetic question's gold as an answer in the required form."""
    gold = read_gold(sample.target)[0]
    kind = str(sample.meta["answer_type"]).rpartition(".")[2]
    if isinstance(gold, date):
        return f"Date: {gold:%m/%d/%Y}"
    return f"{ {'LABEL': 'Label', 'USER': 'User'}.get(kind, 'Answer') }: {gold}"


def worded(sample: Sample, value: str | int | date) -> str:
    """A value as an answer in the form that the sample's question requires."""
    return gold_text(replace(sample, target=written(value)))


class Questions:
    """Shared by generated and loaded questions; subclasses define the fields and the samples."""

    def score(self, sample: Sample, answer: Answer) -> tuple[Score, ...]:
        """`official`, `lenient`, `fixed`; counts also have a relative error."""
        return oolong_scores(sample.target, sample.meta["answer_type"], answer.text)

    def gold_answer(self, sample: Sample) -> Answer:
        """The gold in the form that the question requires."""
        return Answer(gold_text(sample))

    def floors(self) -> Mapping[str, Floor]:
        """One constant per answer type, and answers from users and dates alone.

        `no_labels` is exact for questions that need no label (U1, U2, T1, T2, T3), otherwise
        constant.
        """
        return {
            "constant_label": lambda s: constant(s, "LABEL"),
            "more_common": lambda s: constant(s, "COMPARISON"),
            "n_over_6": lambda s: constant(s, "NUMERIC"),
            "no_labels": no_labels,
            "empty": lambda _: "",
        }


def constant(sample: Sample, wanted: str | None = None) -> str:
    """One answer per answer type; empty where the type is not `wanted` (`None` = any).

    The first listed label; `more common`; the number of lines in question over the number of labels
    (6 where the sample does not state it).
    """
    kind = str(sample.meta["answer_type"]).rpartition(".")[2]
    if wanted not in (None, kind):
        return ""
    if kind == "LABEL":
        listed = sample.question.rpartition("labels: ")[2]
        return f"Label: {listed.split(',')[0].strip('. ')}"
    if kind == "COMPARISON":
        return "Answer: more common than" if "[X] before" not in sample.question else "more common"
    lines = sample.meta["lines"] if sample.meta["scope"] == "global" else len(sample.evidence)
    labels = int(sample.meta.get("labels", 6))
    return f"Answer: {round(lines / labels)}" if kind == "NUMERIC" else ""


def no_labels(sample: Sample) -> str:
    """The exact answer where users and dates alone determine it, otherwise `constant`."""
    question = sample.question
    second = "second most" in question
    if "In the above data, which user is represented" in question:
        form = Form("U2" if second else "U1")
    elif "In the above data, which date is represented" in question:
        form = Form("T2" if second else "T1")
    elif "dates are represented exactly" in question:
        form = Form("T3")
    else:
        return constant(sample)
    gold = Table(parse(sample.context.text())).gold(form)
    return "" if gold is None else worded(sample, gold.value)
