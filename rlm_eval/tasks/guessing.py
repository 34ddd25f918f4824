"""Answers without understanding, for every task: priors, and rules over the whole text.

A prior uses the question and the golds of other samples. A no-model rule may also use the whole
context: which option comes last, which name is the most frequent, how many lines match. Both give
an answer in the required form, which the task's own scorer scores. A rule that does not apply to a
sample gives `None`.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from rlm_eval.core.types import Sample
from rlm_eval.tasks.items import COMMON, Page, content_words, words
from rlm_eval.tasks.keywords import by_keywords

Guess = tuple[str, str | None]
"""(name of the rule, its answer); `None` where the rule does not apply."""

_PREFIX = re.compile(r"([A-Z][a-z]+: |\\boxed\{|The correct answer is \()(.*?)([)}]?)")
_OPTIONS = (
    re.compile(r"^\s*\(([A-Z])\)\s*(\S.*)$", re.MULTILINE),
    re.compile(r"^\s*([A-Z])[.):]\s+(\S.*)$", re.MULTILINE),
    re.compile(r"^\s*(\d{1,2})[:.)]\s+(\S.*)$", re.MULTILINE),
)
_LISTED = re.compile(r"(?:labels|options|choices|categories|one of)\b[^:\n]*: *([^.\n]+)")
_NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?")
_KINDS = ("answer_type", "kind", "ask", "task_group", "question_type", "scope", "style")
"""Scalars of a sample that name the kind of its question, visible to every reader."""
_MOST_KINDS, _MOST_OPTIONS, _LONGEST = 12, 12, 60


@dataclass(frozen=True)
class Form:
    """The required form of an answer: a text with a slot for the bare answer."""

    before: str
    cores: tuple[str, ...]
    """The gold's parts, without the surrounding text."""
    after: str

    @classmethod
    def of(cls, gold: str, target: object) -> Form:
        """`gold` is a perfect method's answer, `target` the sample's gold."""
        parts = [str(part) for part in target] if isinstance(target, list) else [str(target)]
        if ", ".join(parts) == gold:
            return cls("", tuple(parts), "")
        if len(parts) == 1 and parts[0] and gold.count(parts[0]) == 1:
            before, _, after = gold.partition(parts[0])
            return cls(before, tuple(parts), after)
        if found := _PREFIX.fullmatch(gold):
            return cls(found[1], (found[2],), found[3])
        return cls("", (gold,), "")

    def around(self, *cores: str) -> str:
        """An answer in this form."""
        return f"{self.before}{', '.join(cores)}{self.after}"


def kinds(samples: Sequence[Sample]) -> list[str]:
    """Kind of each sample's question: from its scalars, otherwise its words without the names."""
    found = []
    for sample in samples:
        own = [str(sample.meta[name]) for name in _KINDS if name in sample.meta]
        bare = re.sub(r"\d+|[\"'`][^\"'`\n]*[\"'`]|(?<=[a-z,] )[A-Z]\w*", "_", sample.question)
        found.append("|".join(own) or " ".join(bare.split()[:8]))
    return found if len(set(found)) <= _MOST_KINDS else [""] * len(found)


def groupings(samples: Sequence[Sample]) -> list[list[str]]:
    """Ways to group questions for separate rules: by kind, by each scalar."""
    found = [kinds(samples)]
    for name in _KINDS:
        values = [str(sample.meta.get(name)) for sample in samples]
        if 1 < len(set(values)) <= _MOST_KINDS and values not in found:
            found.append(values)
    return found


def options(question: str) -> list[tuple[str, str]]:
    """The options that a question lists: (the answer, the option's text)."""
    for pattern in _OPTIONS:
        found = pattern.findall(question)
        if 2 <= len(found) <= _MOST_OPTIONS:
            return [(key, text.strip()) for key, text in found]
    if listed := _LISTED.findall(question):
        between = "," if listed[-1].count(",") > 1 else r",| or | and "
        parts = [part.strip(" '\"") for part in re.split(between, listed[-1])]
        parts = [part for part in parts if part]
        if 2 <= len(parts) <= _MOST_OPTIONS:
            return [(part, part) for part in parts]
    return []


def few_golds(same: Sequence[Form]) -> list[tuple[str, ...]]:
    """The distinct golds of a kind of question, where they are few: its options, listed or not."""
    found = sorted({form.cores for form in same})
    return found if len(found) <= _MOST_OPTIONS and len(found) * 2 <= len(same) else []


def constants(
    form: Form, others: Sequence[Form], few: Sequence[tuple[str, ...]]
) -> Iterator[Guess]:
    """Priors of one sample: `few` golds of its kind, and constants from the golds of `others`."""
    yield "empty", ""
    for cores in few:
        yield f"always {', '.join(cores)[:40]}", form.around(*cores)
    counted = Counter(other.cores for other in others)
    yield "most_frequent_gold", form.around(*counted.most_common(1)[0][0]) if counted else None
    values = [number for other in others if (number := _value(other)) is not None]
    whole = bool(values) and len(values) * 2 > len(others)
    yield "median_gold", form.around(f"{round(median(values))}") if whole else None


def _value(form: Form) -> float | None:
    text = form.cores[0].replace(",", "") if len(form.cores) == 1 else ""
    return float(text) if re.fullmatch(r"-?\d{1,15}(\.\d+)?", text) else None


def guesses(page: Page, form: Form, others: Sequence[tuple[Form, int]]) -> Iterator[Guess]:
    """Answers of all no-model rules on a page.

    `others` are the golds of other samples of the kind, with the tokens of their contexts.
    """
    listed = options(page.sample.question)
    if listed:
        yield from _by_order(page, form, listed)
    elif _value(form) is not None:
        yield from _by_number(page, form, others)
    if not listed:
        yield from _by_shape(page, form)
    told = by_keywords(page)
    yield "keywords", None if told is None else form.around(told)
    yield "first_item", page.items[0].strip() if len(page) else None
    yield "last_item", page.items[-1].strip() if len(page) else None


def _by_order(page: Page, form: Form, listed: Sequence[tuple[str, str]]) -> Iterator[Guess]:
    """Options by place, length and number, and by place and frequency in the context."""
    text, asked = page.text, content_words(page.sample.question)
    numbers = [float(n.group().replace(",", "")) if (n := _NUMBER.search(t)) else None
               for _, t in listed]  # fmt: skip
    rank_of = {told: rank for rank, told in enumerate(sorted(told for _, told in listed))}
    orders: dict[str, Callable[[int], float]] = {
        "place": lambda i: i,
        "length": lambda i: len(listed[i][1]),
        "first_mention": lambda i: text.find(listed[i][1]) % (len(text) + 1),
        "last_mention": lambda i: text.rfind(listed[i][1]),
        "mentions": lambda i: text.count(listed[i][1]),
        "words_of_the_question": lambda i: len(asked & set(words(listed[i][1]))),
    }
    orders["alphabet"] = lambda i: rank_of[listed[i][1]]
    # Wrong options derived from the gold resemble it more than each other; or it is the outlier.
    orders["likeness"] = lambda i: sum(_likeness(listed[i][1], other) for _, other in listed)
    if None not in numbers:
        orders["number"] = lambda i: numbers[i] or 0.0
    for name, key in orders.items():
        ranked = sorted(range(len(listed)), key=key)
        for rank, number in enumerate(ranked[:6], 1):
            yield f"option_by_{name}_{rank}", form.around(listed[number][0])
        yield f"option_by_{name}_last", form.around(listed[ranked[-1]][0])


def _likeness(a: str, b: str) -> float:
    """Share of three-letter pieces that the two texts have in common."""
    one, two = ({text[i : i + 3] for i in range(max(1, len(text) - 2))} for text in (a, b))
    return len(one & two) / len(one | two)


def _by_number(page: Page, form: Form, others: Sequence[tuple[Form, int]]) -> Iterator[Guess]:
    """Counts, sums and extremes over all items, and over those with the question's names."""
    question = page.sample.question
    terms = {*re.findall(r"(?<=[a-z,] )[A-Z][a-z]+\b|\b\d{3,}\b", question)}
    terms |= {a or b for a, b in re.findall(r"'([^'\n]+)'|\"([^\"\n]+)\"", question)}
    all_of = [item for item in page.items if terms and all(term in item for term in terms)]
    shares = [v / n for o, n in others if n and (v := _value(o)) is not None]
    if shares:
        size = page.sample.context.tokens
        yield "usual_share_of_the_text", form.around(str(round(median(shares) * size)))
    for name, items in (("all", page.items), ("matching", all_of)):
        yield f"count_of_{name}_items", form.around(str(len(items)))
        found = [
            int(n[-1].replace(",", ""))
            for item in items
            if (n := re.findall(r"\d[\d,]*", item)) and len(n[-1]) < 20
        ]
        rules: Mapping[str, Callable[[list[int]], int]] = {
            "sum": sum, "largest": max, "smallest": min, "first": lambda n: n[0],
            "last": lambda n: n[-1], "second_largest": lambda n: sorted(n)[-2:][0],
            "second_smallest": lambda n: sorted(n)[:2][-1],
            "middle": lambda n: sorted(n)[len(n) // 2], "range": lambda n: max(n) - min(n),
            "most_frequent": lambda n: Counter(n).most_common(1)[0][0],
        }  # fmt: skip
        for rule, made in rules.items():
            yield f"{rule}_number_of_{name}_items", form.around(str(made(found))) if found else None


_ENDS = re.compile(r"(?<=[.!?])\s+|\s*\n\s*")
_MOST_BESIDE = 200  # items with a name of the question in which strings are counted
_OPENERS = frozenset({"according", "among", "another", "every", "few", "many", "once", "since"})
_RUN = re.compile(r"\b[A-Z][\w'’-]*(?:[ ][A-Z][\w'’-]*)*")
_SHAPES = (
    (r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", None),
    (r"[a-z]+-[a-z]+", None),
    (r"[a-z]+(?:_[a-z0-9]+)+", None),
    (r"\d{4,}", r"\d"),
    (r"\d{1,3}", None),
    (r"[A-Z]{2,}", "[A-Z]"),
    (r"[a-z]+", "[a-z]"),
)
"""(shape of a whole string, the character that repeats as often as in the gold)."""


def strings_like(core: str, text: str) -> list[str]:
    """All strings of the text with the kind of the gold; empty for an unknown kind.

    A reader knows the kind from the question: a name of so many words, a number of so many digits.
    """
    if len(core) > _LONGEST:
        return []
    for pattern, unit in _SHAPES:
        if re.fullmatch(pattern, core):
            wanted = pattern if unit is None else f"{unit}{{{len(core)}}}"
            return re.findall(rf"(?<![\w-])(?:{wanted})(?![\w-])", text)
    parts = core.split()
    if parts and all(re.fullmatch(r"[A-Z][\w'’.-]*", part) for part in parts):
        return _names(text, len(parts), parts[0] == "The")
    return []


def _names(text: str, size: int, the: bool) -> list[str]:
    """Names of `size` capitalised words; a sentence's first word counts only if it recurs."""
    found, inside = list[str](), set[str]()
    for match in _RUN.finditer(text):
        parts = match.group().split(" ")
        before = text[max(0, match.start() - 2) : match.start()].strip(" ")
        opens = before[-1:] in ("", *'.!?:\n"')
        if opens and len(parts) == size + 1 and parts[0].lower() in COMMON | _OPENERS:
            parts, opens = parts[1:], False
        if len(parts) == size and (parts[0] == "The") == the:
            found.append(" ".join(parts))
            if not opens:
                inside.add(found[-1])
    return [name for name in found if size > 1 or name in inside]


def _by_shape(page: Page, form: Form) -> Iterator[Guess]:
    """Strings of the gold's shape, by count, place, spelling and neighbouring words.

    Over all strings, and by count and place over those that are or are not document titles. As many
    strings as the gold has parts.
    """
    core, count = form.cores[0], len(form.cores)
    question = page.sample.question
    every = [string for string in strings_like(core, page.text) if string not in question]
    if not every:
        return
    titles = set(page.titles)
    groups = {"": every}
    if titles:
        groups["_titled"] = [s for s in every if s in titles]
        groups["_untitled"] = [s for s in every if s not in titles]
    nearest: list[str] = []
    for number in sorted(range(len(page)), key=lambda i: -page.asked[i])[: 5 * count]:
        nearest += [string for string in dict.fromkeys(every) if string in page.items[number]]
    for name, strings in groups.items():
        counted = Counter(strings)
        common = [string for string, _ in counted.most_common()]
        rare = sorted(counted, key=counted.__getitem__)
        near = list(dict.fromkeys(s for s in nearest if s in counted))
        rules = {
            "most_frequent": common, "second_most_frequent": common[count:], "rarest": rare,
            "first": list(counted), "last": list(dict.fromkeys(reversed(strings))),
            "nearest_to_the_question": near,
        }  # fmt: skip
        if not name:
            rules |= _by_neighbours(page, list(counted))
        for rule, ranked in rules.items():
            yield f"{rule}{name}_string", form.around(*ranked[:count]) if ranked else None


def _by_neighbours(page: Page, strings: Sequence[str]) -> dict[str, list[str]]:
    """Distinct strings, in order of first mention, ranked by spelling and by items."""
    half = len(strings) // 2
    called = {name for name in _RUN.findall(page.sample.question) if name.lower() not in COMMON}
    beside = Counter[str]()
    # Not the page's items, whose boundaries depend on the evidence.
    by_length = sorted(filter(None, _ENDS.split(page.text)), key=len)
    named = (item for item in page.items if any(name in item for name in called))
    for item in itertools.islice(named, _MOST_BESIDE):
        beside.update(string for string in strings if string in item)

    def within(items: Iterable[str]) -> list[str]:
        return next(filter(None, ([s for s in strings if s in item] for item in items)), [])

    return {
        "middle": [*strings[half:], *strings[:half]],
        "shortest": sorted(strings, key=len),
        "longest": sorted(strings, key=len, reverse=True),
        "alphabetically_first": sorted(strings),
        "alphabetically_last": sorted(strings, reverse=True),
        "beside_the_questions_names": [string for string, _ in beside.most_common()],
        "in_the_longest_item": within(reversed(by_length)),
        "in_the_shortest_item": within(by_length),
    }


def frequent_in(page: Page, form: Form, share: float) -> Guess:
    """The most frequent string of the gold's shape in the first part of the text."""
    part = page.text[: int(len(page.text) * share)]
    name = f"most_frequent_string_of_the_first_{share:.0%}".replace("%", "_percent")
    if options(page.sample.question):
        return name, None
    found = strings_like(form.cores[0], part)
    counted = Counter(string for string in found if string not in page.sample.question)
    ranked = [string for string, _ in counted.most_common(len(form.cores))]
    return name, form.around(*ranked) if ranked else None
