"""MRCR: repeat the i-th answer among several to equal requests in a long conversation.

`MrcrV2Gen` generates conversations in the form of Google DeepMind's MRCR v2 (Michelangelo, arXiv
2409.12640; google-deepmind/eval_hub `mrcr_v2` @67b7fd2); `MrcrV2` and `MrcrOpenai` load the
published files. The RLM paper (v3) uses v2. With code the task is a regular expression over `User:
Write a ...`: report tool use with every number. A wrong needle still scores 0.15 to 0.5.
"""

from __future__ import annotations

import json
import re
import string
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from rlm_eval.core.errors import ConfigError
from rlm_eval.core.types import Answer, Sample, Score
from rlm_eval.scoring import counted
from rlm_eval.scoring.mrcr import HASH_CHARS, mrcr_openai, mrcr_v2
from rlm_eval.tasks import Floor
from rlm_eval.tasks.base import Draft, GeneratedTask, data, fit, rng, top_up
from rlm_eval.tasks.hub import LoadedTask
from rlm_eval.tasks.hub_rows import HubRows, hub_or_file, with_columns
from rlm_eval.tasks.rows import Condition, file_rows

ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth")
NEEDLES = (2, 4, 8)
_LEAST = 25  # tokens reserved for one short turn in addition to the needles
REPOSITORY, REVISION = "openai/mrcr", "f4c69fae7cf81f7ca26b9fee34b392a50f6b8a1d"
"""Revision after the correction of December 2025."""
_COLUMNS = ("prompt", "answer", "random_string_to_prepend")


def _check_needles(needles: int) -> None:
    if needles not in NEEDLES:
        raise ValueError(f"needles={needles}: 2, 4 or 8")


class _V2:
    """Shared by both v2 tasks, which define the fields and the samples."""

    def score(self, sample: Sample, answer: Answer) -> tuple[Score, ...]:
        """The reference's ratio; 0 with a flag where the reference raises."""
        return (counted(mrcr_v2(sample.target, answer.text or "")),)

    def floors(self) -> Mapping[str, Floor]:
        """The result of a regular expression; the answer to the first equal request."""
        return {"regex": _regex, "first_needle": lambda sample: _regex(sample, first=True)}


@dataclass(frozen=True)
class MrcrV2Gen(_V2, GeneratedTask):
    """Conversations with `needles` equal requests among near misses, generated."""

    name: str = "mrcr_v2_gen"
    needles: int = 8
    """Number of requests with the same format, topic and style."""

    # 1 wrote "a otter"; its requests read "in a {style} style", as only the question does.
    VERSION: ClassVar[int] = 2
    solved_by_code: ClassVar[bool] = True  # a regular expression over the requests
    ANSWER_BUDGET: ClassVar[int] = 320

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_needles(self.needles)

    def draft(self, index: int) -> Draft:
        """One sample; a longer one has more filler turns around the same needles."""
        texts = data("mrcr.json")
        source = rng("mrcr", self.seed, index)
        form, topic, style = (source.choice(texts[k]) for k in ("formats", "topics", "styles"))
        asked = source.randrange(self.needles)
        code = "".join(source.choices(string.ascii_letters + string.digits, k=HASH_CHARS))
        request = (form, topic, style)
        answers = [_answer(source, texts, topic) for _ in range(self.needles)]
        needles = [_turn(request, answer) for answer in answers]
        places = sorted(source.random() for _ in needles)
        question = (
            f"Prepend {code} to the {ORDINALS[asked]} {form} about {topic} in a {style} style. "
            "Do not include any other text in your response."
        )
        opening = f"{'=' * 8} CONVERSATION {'=' * 8}\n\n"

        def make(budget: float, slack: float) -> str:
            budget -= self.counter.cost(opening) + sum(map(self.counter.cost, needles))
            if budget < _LEAST:
                raise ConfigError(
                    f"{self.name}: length={self.length} leaves no room for {self.needles} answers "
                    f"of 100 to 300 tokens; use length={256 * self.needles + 512} or more"
                )
            turns, costs, spent = [], [], 0.0
            filler = rng("mrcr filler", self.seed, index)
            while spent <= budget:
                turns.append(_turn(*_near_miss(filler, texts, request)))
                costs.append(self.counter.cost(turns[-1]))
                spent += costs[-1]
            kept = len(turns) - 1
            if kept and budget - sum(costs[:kept]) < 20:  # less than the shortest turn
                kept -= 1
            turns, left = turns[:kept], budget - sum(costs[:kept])
            short = [_turn((form, t, "short"), answer) for t in texts["topics"] if t != topic
                     for answer in _shorts(t)]  # fmt: skip
            while left > 60:  # short turns, then one that fits exactly
                turns.append(_turn((form, topic, "short"), _line(filler, texts, topic)))
                left -= self.counter.cost(turns[-1])
            if left < 20:
                left += self.counter.cost(turns.pop())
            chosen = top_up([self.counter.cost(turn) for turn in short], left, slack)
            turns += [short[i] for i in chosen]
            spots = [round(place * len(turns)) for place in places]
            for spot, needle in reversed(list(zip(spots, needles, strict=True))):
                turns.insert(spot, needle)
            return opening + "".join(turns)

        text, tokens = fit(make, self.room(question), self.length, self.counter)
        start = text.index(needles[asked])
        item = f"mrcr-{self.needles}-{self.seed}-{index}"
        meta = {"needles": self.needles, "asked": asked + 1, "depth": round(places[asked] * 100)}
        gold, span = code + answers[asked], ((start, start + len(needles[asked])),)
        return Draft(question, text, gold, item, item, tokens, span, meta)


def _turn(request: tuple[str, str, str], answer: str) -> str:
    form, topic, style = request
    return f"User: Write a {form} about {topic} in {style} style.\n\nAssistant: {answer}\n\n"


def _line(source: Any, texts: Mapping[str, list[str]], topic: str) -> str:
    words = data("words.json")
    line = source.choice(texts["lines"]).format(
        topic=topic,
        a=source.choice(words["adjectives"]),
        n=source.choice(words["nouns"]),
        o=source.choice(words["objects"]),
        v=source.choice(words["verbs"]),
        tail=source.choice(words["tails"]),
    )
    return re.sub(r"\b([Aa]) (?=[aeiou]|honest)", r"\1n ", line)


def _answer(source: Any, texts: Mapping[str, list[str]], topic: str) -> str:
    lines = (_line(source, texts, topic) for _ in range(source.randrange(7, 16)))
    return "\n".join(line[0].upper() + line[1:] for line in lines)


def _shorts(topic: str) -> list[str]:
    """Short answers, each slightly longer than the previous one."""
    return [", ".join([topic] * count) for count in range(1, 40, 2)]


def _near_miss(
    source: Any, texts: Mapping[str, list[str]], request: tuple[str, str, str]
) -> tuple[tuple[str, str, str], str]:
    """A request with the queried format or topic about half the time, never all three."""
    while True:
        form, topic, style = (source.choice(texts[k]) for k in ("formats", "topics", "styles"))
        draw = source.random()
        if draw < 0.25:
            form = request[0]
        elif draw < 0.5:
            topic = request[1]
        elif draw < 0.6:
            form, topic = request[:2]
        if (form, topic, style) != request:
            return (form, topic, style), _answer(source, texts, topic)


_ASKED = re.compile(r"Prepend (\S+) to the (\w+) (.+) in an? (.+) style\.")


def _request(thing: str, style: str) -> str:
    """Pattern of a request: `in {style} style`, where the final question has `in a`."""
    return rf"User: Write a {re.escape(thing)} in (?:an? )?{re.escape(style)} style\."


def _regex(sample: Sample, *, first: bool = False) -> str:
    match = _ASKED.search(sample.question)
    if match is None:
        return ""
    code, ordinal, thing, style = match.groups()
    pattern = rf"{_request(thing, style)}\s+Assistant: (.*?)(?=\s*\nUser: Write a |\s*\Z)"
    found = re.findall(pattern, sample.context.text(), re.DOTALL)
    place = 0 if first or ordinal not in ORDINALS else ORDINALS.index(ordinal)
    return code + found[place].strip() if place < len(found) else ""


@dataclass(frozen=True)
class MrcrV2(_V2, LoadedTask):
    """Google's MRCR v2: its CSV files, downloaded by the user (`path`)."""

    name: str = "mrcr_v2"

    # 1: questions ended with the file's "Assistant:", and a column determined the needles
    VERSION: ClassVar[int] = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.path is None:
            raise ValueError("path: the CSV file of google-deepmind/eval_hub's mrcr_v2")

    def drafts(self) -> Iterator[Draft]:
        """Yield a draft per row: the last request is the question, the text before it the context.

        The `User:` before it and the `Assistant:` after it are turn markers, not part of the
        question.
        """
        path = str(self.path)
        rows = with_columns(path, file_rows(path), ("queries", "answer", "context_len"))
        for number, row in enumerate(rows):
            with self.reading(f"row {number + 1}"):
                start = row["queries"].rindex("Prepend ")
                nominal = int(float(row["context_len"]))  # other CSV writers produce "8192.0"
            question = row["queries"][start:].strip().removesuffix("Assistant:").rstrip()
            context = row["queries"][:start].rstrip().removesuffix("User:")
            name = str(number)
            meta = {"needles": _needles_of(question, context), "nominal": nominal}
            yield Draft(question, context, row["answer"], name, name, meta=meta, length=nominal)


def _needles_of(question: str, context: str) -> int | None:
    """Count of the queried request in the conversation; `None` for another form of question."""
    match = _ASKED.search(question)
    return match and len(re.findall(_request(match[3], match[4]), context))


@dataclass(frozen=True)
class MrcrOpenai(LoadedTask):
    """openai/mrcr (MIT) at a pinned revision, or a local file with its columns."""

    name: str = "mrcr_openai"
    needles: int = 8
    """2, 4 or 8."""
    revision: str | None = None
    """Commit of the hub's data set; `None` = f4c69fae7cf81f7ca26b9fee34b392a50f6b8a1d, after its
    correction of December 2025."""
    length: int = 131072
    """Nominal tokens: the upper end of the token bin (8192, 16384, ... 1048576)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_needles(self.needles)

    @property
    def _rows(self) -> HubRows:
        # Far outside the bin in characters: skip without tokenising.
        where: tuple[Condition, ...] = (
            ("n_needles", "==", self.needles),
            ("n_chars", ">=", self.length * 1.5),
            ("n_chars", "<=", self.length * 7),
        )
        columns, names = (*_COLUMNS, "n_needles", "n_chars"), f"{self.needles}needle*"
        return HubRows(REPOSITORY, self.revision or REVISION, "train", None, columns, where, names)

    def sources(self) -> Sequence[HubRows]:
        """See `LoadedTask`."""
        return () if self.path is not None else (self._rows,)

    def drafts(self) -> Iterator[Draft]:
        """Yield the rows of the bin (prompt and answer under o200k, as on the card)."""
        for number, row in enumerate(hub_or_file(self.path, self._rows)):
            with self.reading(f"row {number + 1} of n_needles={self.needles}"):
                *turns, last = json.loads(row["prompt"])
                if not all(isinstance(turn["content"], str) for turn in [*turns, last]):
                    raise TypeError("the content of a turn is not one text")
                tokens = sum(self.counter.count(t["content"]) for t in [*turns, last])
                tokens += self.counter.count(row["answer"])
                context = "".join(f"{t['role'].capitalize()}: {t['content']}\n\n" for t in turns)
            if not self._lower <= tokens <= self.length:
                continue
            prefix = row["random_string_to_prepend"]
            meta = {"prefix": prefix, "needles": row["n_needles"]}
            name = f"{self.needles}-{self.length}-{number}"  # no row is in two bins
            target = row["answer"]
            yield Draft(last["content"], context, target, name, name, meta=meta, length=self.length)

    @property
    def _lower(self) -> int:
        return 4096 if self.length == 8192 else self.length // 2 + 1

    def score(self, sample: Sample, answer: Answer) -> tuple[Score, ...]:
        """The data card's ratio."""
        return (counted(mrcr_openai(sample.target, answer.text or "", sample.meta["prefix"])),)

    def floors(self) -> Mapping[str, Floor]:
        """The required prefix string, and nothing after it."""
        return {"prefix_only": lambda sample: str(sample.meta["prefix"])}
