"""S-NIAH: one or more needles in filler, in the forms of RULER's `niah_*` and harder ones.

Follows NVIDIA/RULER `scripts/data/synthetic/niah.py` @c3f5e3b in templates, needle sentence,
haystacks, key and value types, answer budget and metric; the filler, word lists and frames are our
own. Position, wording and question depend only on (seed, index), so the same item recurs at every
length. RULER's variable tracking and frequent words are in `ruler`.
"""

from __future__ import annotations

import random
import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from rlm_eval.core.types import Answer, Sample, Score
from rlm_eval.scoring.match import ruler_all, ruler_strict
from rlm_eval.tasks import Floor
from rlm_eval.tasks import haystack as hay
from rlm_eval.tasks.base import Draft, GeneratedTask, data, rng

STYLES = ("ruler", "frames", "paraphrase")
TYPES = ("words", "numbers", "uuids")
_DEPTHS = (0, 70, 30, 100, 60, 20, 90, 50, 10, 80, 40)  # percent; few samples are spread too


@dataclass(frozen=True)
class SNiah(GeneratedTask):
    """See the module's docstring. RULER's presets are YAMLs.

    `solved_by_code` in all styles except `paraphrase`: a search for the question's words finds the
    needle.
    """

    name: str = "s_niah"
    haystack: str = "prose"
    """`prose`, `noise`, `needle` (all lines are needles of other keys), `mixed`, `file`."""
    file: str | None = None
    """Path of the text for `haystack: file`."""
    style: str = "ruler"
    """`ruler`: its one sentence; `frames`: a sentence drawn per sample, so that one regex does not
    match all samples; `paraphrase`: the first release's version, for its stored records (a search
    for names finds its facts); new runs use `task=s_niah_paraphrase`."""
    key_type: str = "words"
    """`words` (adjective-noun), `numbers` (7 digits), `uuids`."""
    value_type: str = "numbers"
    """As `key_type`, or `mix`: alternating numbers and word phrases, as in the RLM paper."""
    keys: int = 1
    """Number of needles with different keys, one of them queried."""
    values: int = 1
    """Needles of the queried key, each with its own value; the question asks for all."""
    queries: int = 1
    """Number of keys queried at once."""
    related_keys: bool = True
    """If true, the other keys share a word with the queried one."""
    decoys: bool = True
    """Include 7-digit numbers and the queried key's words in the prose."""
    depth: int | None = None
    """Percent of the filler before the needle; `None` = 0 to 100 in steps of 10 over samples."""

    OUTPUT_CAP: ClassVar[int | None] = 128
    operation: ClassVar[str | None] = "filter"

    def __post_init__(self) -> None:
        super().__post_init__()
        for value, allowed in (
            (self.haystack, hay.KINDS),
            (self.style, STYLES),
            (self.key_type, TYPES),
            (self.value_type, (*TYPES, "mix")),
        ):
            if value not in allowed:
                raise ValueError(f"{value!r} is none of {', '.join(allowed)}")
        if (self.haystack == "file") != (self.file is not None):
            raise ValueError("haystack=file needs file=PATH, and no other haystack takes one")
        if self.depth is not None and not 0 <= self.depth <= 100:
            raise ValueError(f"depth={self.depth}: percent, 0 to 100")
        if min(self.keys, self.values, self.queries) < 1 or self.queries > self.keys:
            raise ValueError("keys, values, queries: 1 or more; queries at most keys")
        if self.style == "paraphrase" and (self.values, self.queries) != (1, 1):
            raise ValueError("style=paraphrase asks for one value of one key")

    @property
    def solved_by_code(self) -> bool:  # type: ignore[override]
        """By design, a search for the key finds the needle, except for a paraphrase."""
        return self.style != "paraphrase"

    def outside_facts(self) -> Any:
        """The hash of the user's file."""
        return hay.file_hash(self.file) if self.file else None

    def draft(self, index: int) -> Draft:
        """One sample; only its filler depends on the length."""
        source = rng("s_niah", self.seed, index)
        kind = self.value_type
        if kind == "mix":
            kind = ("numbers", "words")[index % 2]
        if self.style == "paraphrase":
            question, needles, golds, keys = self._paraphrase(source)
        else:
            question, needles, golds, keys = self._keyed(source, kind)
        asked = len(golds)
        depths = [_DEPTHS[index % len(_DEPTHS)] if self.depth is None else self.depth]
        depths += source.choices(range(101), k=len(needles) - 1)
        filler = self._filler(f"{self.seed}|{index}", kind, keys, golds)
        placed = [(d / 100, n) for d, n in zip(depths, needles, strict=True)]
        text, tokens, spans = hay.build(
            filler, placed, self.room(question), self.length, self.counter
        )
        item = f"{self.style}-{self.seed}-{index}"
        meta = {"depth": depths[0], "keys": self.keys, "haystack": self.haystack}
        evidence = tuple(sorted(spans[:asked]))
        return Draft(question, text, golds, item, item, tokens, evidence, meta)

    def _keyed(self, source: random.Random, kind: str) -> _Item:
        """Question, needles (the queried ones first), golds, and the queried keys."""
        if self.style == "ruler":
            needle = f"One of the special magic {kind} for {{key}} is: {{value}}."
            question = _ruler_question(kind, plural=self.values * self.queries > 1)
        else:
            needle, question = source.choice(data("needles.json")["frames"])
            question = f"Somewhere in the text this is stated. {question} Answer with it alone."
        keys = self._keys(source)
        asked = keys[: self.queries]
        values: dict[str, None] = {}
        while len(values) < (len(keys) - 1) + self.values * self.queries:
            values[_draw(source, kind)] = None
        drawn = iter(values)
        golds = [next(drawn) for _ in range(self.values * len(asked))]
        pairs = [(key, golds[i * self.values + j]) for i, key in enumerate(asked)
                 for j in range(self.values)]  # fmt: skip
        pairs += [(key, next(drawn)) for key in keys[self.queries :]]
        needles = [needle.format(key=key, value=value) for key, value in pairs]
        names = asked[0] if len(asked) == 1 else f"{', '.join(asked[:-1])}, and {asked[-1]}"
        return question.format(key=names), needles, golds, asked

    def _keys(self, source: random.Random) -> list[str]:
        """The queried keys, then the others; no duplicates."""
        keys = dict.fromkeys(_draw(source, self.key_type) for _ in range(self.queries))
        first = next(iter(keys))
        while len(keys) < self.keys:
            other = _draw(source, self.key_type)
            if self.related_keys and self.key_type == "words":
                adjective, noun = first.split("-")
                parts = other.split("-")
                other = f"{adjective}-{parts[1]}" if len(keys) % 2 else f"{parts[0]}-{noun}"
            keys[other] = None
        return list(keys)

    def _paraphrase(self, source: random.Random) -> _Item:
        words = data("words.json")
        facts = source.sample(data("needles.json")["paraphrase"], self.keys)
        firsts = source.sample(words["first_names"], self.keys)
        lasts = source.sample(words["last_names"], self.keys)
        names = [f"{a} {b}" for a, b in zip(firsts, lasts, strict=True)]
        needles = [fact[0].format(name=name) for fact, name in zip(facts, names, strict=True)]
        question = f"{facts[0][1]} The text says so in other words. Answer with the full name."
        return question, needles, names[:1], []

    def _filler(self, seed: str, kind: str, keys: list[str], golds: list[str]) -> hay.Filler:
        tokenizer, avoid = self.counter, frozenset([*keys, *golds])
        if self.haystack == "prose":
            return hay.Prose(tokenizer, seed, _word_places(keys), avoid, self.decoys)
        if self.haystack == "noise":
            return hay.noise(tokenizer)
        if self.haystack == "mixed":
            return hay.mixed(tokenizer, seed, avoid)
        if self.haystack == "file":
            return hay.from_file(tokenizer, Path(str(self.file)))
        source = rng("needle lines", seed)

        def line(_: int) -> str:
            key, value = _draw(source, self.key_type), _draw(source, kind)
            while key in avoid or value in avoid:
                key, value = _draw(source, self.key_type), _draw(source, kind)
            return f"One of the special magic {kind} for {key} is: {value}."

        return hay.lines(tokenizer, line)

    def score(self, sample: Sample, answer: Answer) -> tuple[Score, ...]:
        """RULER's substring recall, and a strict score that penalises wrong values."""
        text = answer.text or ""
        return ruler_all(sample.target, text), ruler_strict(sample.target, text)

    def floors(self) -> Mapping[str, Floor]:
        """A regular expression for RULER's sentence; the first number in the text; no answer."""
        return {"regex": _regex_floor, "first_number": _first_number}


_Item = tuple[str, list[str], list[str], list[str]]


def _draw(source: random.Random, kind: str) -> str:
    """Draw a key or value of the kind."""
    if kind == "numbers":
        return str(source.randrange(1_000_000, 10_000_000))
    if kind == "uuids":
        return str(uuid.UUID(int=source.getrandbits(128), version=4))
    words = data("words.json")
    return f"{source.choice(words['adjectives'])}-{source.choice(words['nouns'])}"


def _word_places(keys: list[str]) -> tuple[tuple[int, str], ...]:
    """Positions of a word key's words in a prose sentence (see `hay.Prose`)."""
    pairs = [key.split("-") for key in keys if key.count("-") == 1]
    return tuple((place, pair[place - 1]) for pair in pairs for place in (1, 2))


def _ruler_question(kind: str, plural: bool) -> str:
    """RULER's words around the context, singular or plural, with `{key}` unfilled."""
    if plural:
        return (
            f"Some special magic {kind} are hidden within the following text. Make sure to "
            f"memorize it. I will quiz you about the {kind} afterwards.\n"
            f"What are all the special magic {kind} for {{key}} mentioned in the provided text?"
        )
    kind = kind[:-1]
    return (
        f"A special magic {kind} is hidden within the following text. Make sure to "
        f"memorize it. I will quiz you about the {kind} afterwards.\n"
        f"What is the special magic {kind} for {{key}} mentioned in the provided text?"
    )


def _regex_floor(sample: Sample) -> str:
    """Result of one search for RULER's sentence: the cheapest code that an RLM could write."""
    asked = re.search(r"special magic \w+ for (.+) mentioned", sample.question)
    keys = re.split(r",? and |, ", asked.group(1)) if asked else []
    text = sample.context.text()
    found = [re.findall(rf"magic \w+ for {re.escape(key)} is: (\S+)\.", text) for key in keys]
    return ", ".join(value for values in found for value in values)


def _first_number(sample: Sample) -> str:
    match = re.search(r"\b\d{7}\b", sample.context.text())
    return match.group() if match else ""
