"""The user's own data: a JSON-lines, JSON, Parquet, CSV or TSV file with questions and answers.

A YAML sets the file, the columns and the metric. A context may be one text or a list of documents;
an answer may be one text, number or boolean, a list of accepted answers, or a dictionary in the
form of SQuAD or TriviaQA. For judged answers, write a task with `judge_prompt`.
"""

from __future__ import annotations

import ast
import datetime
import math
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import Any, ClassVar

import orjson

from rlm_eval.core.errors import ConfigError
from rlm_eval.core.types import Answer, Sample, Score, canonical_text, text_hash
from rlm_eval.scoring import said
from rlm_eval.scoring.match import normalized_contains, normalized_exact, stated
from rlm_eval.scoring.numbers import NUMBER, ungrouped, value_of
from rlm_eval.scoring.pairs import PairSet, read_gold
from rlm_eval.scoring.registry import SCORERS, is_empty, is_known, unknown_gold
from rlm_eval.tasks import Floor
from rlm_eval.tasks.base import Draft
from rlm_eval.tasks.hub import LoadedTask
from rlm_eval.tasks.oolong.floors import gold_text
from rlm_eval.tasks.rows import file_rows, whole

OWN_METRICS = {"contains": normalized_contains, "exact": normalized_exact}
_LISTED = re.compile(r"(?<![\d.,])\d+(?:,\d+){2,}(?![\d.,])")
"""[1,2,5]: one comma could be that of a decimal."""
_WRITTEN = re.compile(r"\.\d*[1-9]0+$|[eE]\d")
"""A gold in digits that is not a number: a version such as 3.10, a commit such as 12e4567."""
_METRICS = (*OWN_METRICS, *(name for name in SCORERS if name != "browsecomp_judge"))
"""That one reads the reply of a judge, in which no gold occurs."""
_OF_TEXTS = (*OWN_METRICS, "ruler_all", "ruler_part", "set_f1")
"""Metrics whose golds are texts or lists of texts."""
_FORMS = {
    "oolong": "a list in brackets, such as [7] or ['spam'], with its ANSWER_TYPE in `answer_type`",
    "longbench_v2": "one of the letters A to D",
    "mrcr_v2": "12 random characters, then the text to repeat",
    "mrcr_openai": "the text of the column `prefix`, then the text to repeat",
    "pairs_f1": "pairs of numbers, such as (1, 2), (3, 4)",
}
"""Forms of other golds, by the start of the metric's name."""
_AFTER_NO = "it|they|he|she|we|i|you|there|this|that|these|those|because|since|as|but|and|the"
_VERDICT = re.compile(
    r"(?:(\b(?:can)?not|n['\u2019]t) (?:(?:be|really|quite|actually) )?)?"
    rf"\b(yes|no(?! (?!(?:{_AFTER_NO})\b)\w)|true|false)\b",
    re.IGNORECASE,
)
"""A boolean in a reply. The "no" of "no idea" and "no evidence" does not count."""
_TRUTHS = {"yes": True, "true": True, "no": False, "false": False}
_OWN_VERSION = "9"
"""Version of `contains` and `exact` here. 4 read "I have no idea" as a no; 5 missed the minus sign
U+2212 and, in scripts without spaces, answers within a sentence; 6 found the article of "a dog" for
the choice A, and 12% in 12.5%; 7 found "5 km" in "2.5 km", 12 in 1,2, and a yes in "isn't true";
8 compared floats, knew no separator of thousands but the comma, found 19 in COVID-19 and foo in
foo_bar, missed 5 in "is:5", and read no number or boolean in an `Exact Answer:` line."""
_CHOICE = re.compile(
    r"(?<![\w'’])(?:[AI](?! (?!(?:is|and|or|but|because|since|as)\b)[a-z])"
    r"|[ai](?=[)\].,:;\"'*!`]|\s*$))(?![\w'’-])"
)
"""The letter A or I as a choice, neither an article nor a pronoun."""
_UNIT = re.compile(r"[$€£]\s?(.+)|(.+?)\s?%")
"""A gold that is a number with a sign of currency or percent."""
_UNSPACED = re.compile(r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff]")
"""A letter of a script without spaces between words."""


@dataclass(frozen=True)
class Custom(LoadedTask):
    """See the module's docstring."""

    name: str = "custom"
    metric: str = "contains"
    """`contains`: an accepted answer occurs in the reply as whole words (a number as a number), so
    that "The colour is grey." is correct for grey; `exact`: it is the whole reply, or its last
    `Exact Answer:` line. The other of the two is also reported. Or a scorer's name from `rlm-eval
    score-answers --scorer list`, which may read further columns of the row."""
    context: str = "context"
    """Column of the text or the list of documents."""
    question: str = "question"
    """Column of the question."""
    answer: str = "answer"
    """Column of the gold, or of the list of accepted answers."""

    own_length: ClassVar[bool] = True
    # 1: exact by default; numbers, booleans and dictionaries as text.
    # 2: lists in table cells as text. 3: arrays in table cells as text, or as one joined string.
    # 4: an id or cluster of 0 as none, dates of data frames with their midnight.
    VERSION: ClassVar[int] = 5
    clusters_in_data: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.path is None:
            raise ValueError("path: name the file with your rows")
        if self.metric not in _METRICS:
            raise ValueError(f"metric={self.metric}: one of {', '.join(_METRICS)}")

    def drafts(self) -> Iterator[Draft]:
        """Yield the rows in file order. Other columns become `meta` where scalar.

        Raises `ConfigError` naming an unreadable row and column.
        """
        own = (self.context, self.question, self.answer)
        rows_of: dict[str, int] = {}
        for number, row in enumerate(file_rows(str(self.path)), 1):
            place = f"{self.path}, row {number}"
            missing = [column for column in own if row.get(column) is None]
            if missing:
                raise ConfigError(
                    f"{place}: no {', '.join(missing)}; the row has "
                    f"{', '.join(row)}. Name your columns with task.context, task.question, "
                    "task.answer"
                )
            table = Path(str(self.path)).suffix.lower() in (".csv", ".tsv")
            context, gold = row[self.context], row[self.answer]
            if table:
                gold, documents = _cell(gold), _cell(context)
                texts = isinstance(documents, list) and all(isinstance(d, str) for d in documents)
                context = documents if texts else context
            context = _context(context, f"{place}, {self.context}")
            if self.metric in _OF_TEXTS and not is_empty(self.metric, gold):
                gold = _accepted(gold, f"{place}, {self.answer}")
            if self.metric in SCORERS:  # they compare texts, not values
                gold = [whole(one) for one in gold] if isinstance(gold, list) else whole(gold)
            if self.metric in SCORERS and not is_known(self.metric, gold):
                raise ConfigError(f"{place}, {self.answer}: {unknown_gold(gold)}")
            question = row[self.question]
            if not isinstance(question, str) or not question.strip():
                raise ConfigError(f"{place}, {self.question}: the question must be a text")
            meta: dict[str, Any] = {
                k: v for k, v in row.items() if k not in own and not isinstance(v, list | dict)
            }
            cluster = _name(row.get("cluster"), text_hash(canonical_text(context)))
            item = _name(row.get("id"), str(number))
            if (first := rows_of.setdefault(item, number)) != number:
                raise ConfigError(
                    f"{place}: its id, {item}, is that of row {first}; give each row its own, or "
                    "leave the column `id` out (rows that share something have one `cluster`)"
                )
            yield Draft(question, context, gold, cluster, item, meta=meta)

    def score(self, sample: Sample, answer: Answer) -> tuple[Score, ...]:
        """The metric's score; for `contains` and `exact` also the other one's."""
        text = answer.text or ""
        if self.metric in OWN_METRICS:
            golds = sample.target if isinstance(sample.target, list) else [sample.target]
            other = next(name for name in OWN_METRICS if name != self.metric)
            return _own(self.metric, golds, text), _own(other, golds, text)
        row = {**sample.meta, "gold": sample.target, "output": text}
        try:
            got = SCORERS[self.metric](row)
        except KeyError as error:
            raise ConfigError(
                f"metric={self.metric} needs the column {error} in {self.path}"
            ) from error
        except (AttributeError, TypeError, ValueError) as error:
            raise ConfigError(
                f"metric={self.metric} cannot read the answer of row {sample.index + 1} of "
                f"{self.path} ({error}); its form is that of `rlm-eval score-answers`"
            ) from error
        value = got["score"]
        flag = "the reference raises" if value is None else None
        value = 0.0 if value is None else float(value)
        return (Score(self.metric, value, version="2", flag=flag),)  # 1 read reasoning as answers

    def gold_answer(self, sample: Sample) -> Answer:
        """The first accepted answer, or all where the metric counts them, in the metric's form."""
        gold, metric = sample.target, self.metric
        golds = gold if isinstance(gold, list) else [gold]
        if metric == "ruler_all":
            return Answer(", ".join(map(str, golds)))
        if metric == "set_f1":
            return Answer("\n".join(map(str, golds)))
        if metric == "pairs_f1":
            pairs = read_gold(gold)
            return Answer(str(list(pairs.pairs()) if isinstance(pairs, PairSet) else gold))
        if metric == "longbench_v2":
            return Answer(f"The correct answer is ({gold})")
        if metric == "oolong_real":
            return Answer(f"\\boxed{{{gold}}}")
        if metric.startswith("oolong_"):
            with suppress(LookupError, SyntaxError, TypeError, ValueError):  # scored as it is
                return Answer(gold_text(sample))
        return Answer(_worded(golds[0]))

    def gold_fault(self, sample: Sample) -> str | None:
        """See `LoadedTask`. Scorers of sets also have golds by which nothing is to be named."""
        return None if is_empty(self.metric, sample.target) else super().gold_fault(sample)

    @property
    def gold_form(self) -> str:
        """See `LoadedTask`."""
        form = next((form for name, form in _FORMS.items() if self.metric.startswith(name)), None)
        return f"For metric={self.metric} give {form or 'what one reply can contain'}"

    def floors(self) -> Mapping[str, Floor]:
        """Repeat the question."""
        return {"echo_question": lambda sample: sample.question}


_ARRAY = re.compile(r"array\((\[.*?\])(?:,\s*dtype=[^)]*)?\)", re.DOTALL)
_STRING = r"""(?:'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")"""
_APART = re.compile(rf"({_STRING}(?=\s+['\"]))|{_STRING}", re.DOTALL)
"""A string of a printed array, in group 1 where a space and no comma separates it from the next."""


def _cell(text: Any) -> Any:
    """Value of a table cell: its text, or the list or dictionary that it encodes."""
    if not isinstance(text, str) or text.strip()[:1] not in ("[", "{"):
        return text
    listed = text.strip()
    # Data frames write arrays as ['a' 'b'], and inside dictionaries as array(['a'], dtype=object).
    listed = _APART.sub(
        lambda match: match[0] + ("," if match[1] else ""), _ARRAY.sub(r"\1", listed)
    )
    for read in (orjson.loads, ast.literal_eval):  # JSON; Python, as data frames write lists
        try:
            found = read(listed)
        except (ValueError, SyntaxError, RecursionError):
            continue
        simple = isinstance(found, list) and all(isinstance(x, str | int | float) for x in found)
        return found if simple or isinstance(found, dict) else text
    return text


def _context(value: Any, place: str) -> str | tuple[str, ...]:
    """A text or documents. Raises `ConfigError` for any other value, and for an empty one."""
    documents = value if isinstance(value, list) else [value]
    if not documents or not all(isinstance(part, str) for part in documents):
        raise ConfigError(
            f"{place}: a context is one text or a list of texts; join titles and sentences first"
        )
    if not any(part.strip() for part in documents):
        raise ConfigError(f"{place}: the context is empty")
    return tuple(documents) if isinstance(value, list) else documents[0]


def _accepted(value: Any, place: str) -> Any:
    """Normalise a gold for scoring: a text, number or boolean, or a list of accepted ones.

    `{"text": [...]}` is SQuAD's form, `{"value": ..., "aliases": [...]}` TriviaQA's; a list of
    `{"text": ...}` is the form of SQuAD's own files. Dates become texts (2024-01-03), decimals
    numbers. Raises `ConfigError` for other dictionaries, for nested and for empty answers.
    """
    if (
        isinstance(value, list)
        and value
        and all(isinstance(x, dict) and "text" in x for x in value)
    ):
        value = {"text": [x["text"] for x in value]}
    if isinstance(value, dict):
        names = [name for name in ("text", "value", "aliases") if name in value]
        if not names:
            raise ConfigError(
                f"{place}: a dictionary with {', '.join(map(str, value))}; give a text, a list of "
                'accepted texts, or {"text": [...]}'
            )
        parts = [value[name] for name in names]
        value = [x for part in parts for x in (part if isinstance(part, list) else [part])]
        value = list(dict.fromkeys(value)) if all(isinstance(x, str) for x in value) else value
    listed = [x for one in (value if isinstance(value, list) else [value]) for x in _plain(one)]
    value = listed if isinstance(value, list) or len(listed) > 1 else listed[0]
    golds = value if isinstance(value, list) else [value]
    if not golds:
        raise ConfigError(
            f"{place}: no accepted answer; drop the row, or give the words that say that there is "
            "none"
        )
    for gold in golds:
        if isinstance(gold, bool) or (isinstance(gold, int | float) and math.isfinite(gold)):
            continue
        if not isinstance(gold, str):
            raise ConfigError(
                f"{place}: {gold!r} is not a text, number or boolean; list the accepted answers"
            )
        if not gold.strip():
            raise ConfigError(
                f"{place}: empty gold answer: no reply can be scored against it; delete the row"
            )
    return value


def _plain(value: Any) -> list[Any]:
    """Convert a date to the texts that name it and a decimal to a number; leave other values.

    A data frame has every date as a time stamp: one at midnight, without a time zone, is a date.
    """
    if isinstance(value, datetime.datetime):
        if value.tzinfo is None and value.time() == datetime.time():
            return [value.date().isoformat()]
        units = ["auto"] if value.second or value.microsecond else ["auto", "minutes"]
        return [value.isoformat(between, unit) for unit in units for between in " T"]
    if isinstance(value, datetime.date | datetime.time):
        return [value.isoformat()]
    return [float(value) if isinstance(value, Decimal) else value]


def _name(value: Any, default: str) -> str:
    """A row's `id` or `cluster` as text; the default for none. 0 is a name."""
    is_none = value is None or value != value or not str(value).strip()  # NaN in data frames
    return default if is_none else str(value)


def _worded(gold: Any) -> str:
    """A gold as the text that a perfect method would answer."""
    if isinstance(gold, bool):
        return "yes" if gold else "no"
    if isinstance(gold, float) and gold.is_integer():
        return str(int(gold))
    return str(gold)


def _own(metric: str, golds: list[Any], text: str) -> Score:
    """`contains` or `exact` over golds of any type: numbers by value, booleans as yes and no."""
    # A CSV cell, or a hand-written row, has booleans as words.
    golds = [_TRUTHS.get(g.strip().lower(), g) if isinstance(g, str) else g for g in golds]
    text = text.replace("\N{MINUS SIGN}", "-")
    words = [g for g in golds if isinstance(g, str) and _number(g) is None]
    if metric == "contains":
        choices = [g for g in words if g.strip().lower() in ("a", "i")]
        letters = {letter.lower(): letter for letter in _CHOICE.findall(said(text))}
        if hits := [letters[g.strip().lower()] for g in choices if g.strip().lower() in letters]:
            return Score(metric, 1.0, hits[0], _OWN_VERSION)
        words = [g for g in words if g not in choices]
    if words and (found := OWN_METRICS[metric](words, text)).value:
        return replace(found, version=_OWN_VERSION)
    if metric == "contains":
        for gold in words:
            if _UNSPACED.search(gold) and _stands_in(gold.strip(), said(text)):
                return Score(metric, 1.0, gold, _OWN_VERSION)
    read = ungrouped(said(text) if metric == "contains" else stated(said(text)))
    bare = read.strip().strip("*_`$€£% ").rstrip("*_`.$€£% ")
    hit = None
    if numbers := [number for gold in golds if (number := _number(gold)) is not None]:
        apart = _LISTED.sub(lambda listed: listed[0].replace(",", ", "), read)
        hit = next((n for n in re.findall(NUMBER, apart) if value_of(n) in numbers), None)
    truths = [gold for gold in golds if isinstance(gold, bool)]
    if truths and (verdict := _VERDICT.search(read)):
        is_true = (verdict[2].lower() in ("yes", "true")) != bool(verdict[1])
        hit = verdict[0] if is_true in truths else hit
    if metric == "exact" and hit != bare:
        hit = None
    return Score(metric, float(hit is not None), hit, _OWN_VERSION)


def _stands_in(gold: str, text: str) -> bool:
    """True where `gold` occurs in `text`, and none of its numbers is part of a longer one."""
    before = r"(?<!\d)(?<!\d[.,])" if gold[0].isdigit() else ""
    after = r"(?![.,]?\d)" if gold[-1].isdigit() else ""
    return re.search(f"{before}{re.escape(gold)}{after}", text) is not None


def _number(gold: Any) -> Decimal | None:
    """The number of a numeric or digit-string gold; `None` for other golds."""
    if isinstance(gold, bool):
        return None
    text = str(gold).strip()
    if unit := _UNIT.fullmatch(text):
        text = unit[1] or unit[2]
    elif isinstance(gold, str) and _WRITTEN.search(text):
        return None
    text = text if " " in text else ungrouped(text)  # 020 123 456 may be a telephone number
    is_label = text.startswith("0") and text.isdigit() and len(text) > 1  # 007 is not the number 7
    return value_of(text) if re.fullmatch(NUMBER, text) and not is_label else None
