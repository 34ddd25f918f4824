"""RULER's common words extraction (`cwe`), generated.

Follows NVIDIA/RULER `common_words_extraction.py` @c3f5e3b in form (a numbered list after a solved
example), counts (ten common words 30 times and every other word 3 times; 6 and 1 under 4,096
tokens), answer budget and metric. RULER does not ship its word list, so the words are invented; an
item keeps its ten words at every length, and every sample has its own order (RULER's shuffles use
one seed for all).
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from rlm_eval.core.types import Answer, Density, Sample, Score
from rlm_eval.scoring.match import ruler_all, ruler_strict
from rlm_eval.tasks import Floor
from rlm_eval.tasks.base import Draft, GeneratedTask, fit, rng, top_up
from rlm_eval.tasks.baselines import Baseline
from rlm_eval.tasks.needle.ruler import counting

_FIRST, _VOWELS, _LAST = "bdfgklmnprstvz", "aeiou", ["", "", "l", "n", "r", "s", "t"]
_COMMON = 10
_SHORT = 4096  # tokens; below, RULER uses lower counts
_SPARE = 300  # words among which the last ones are selected for an exact fit
_QUESTION = (
    "The text is a numbered list of words, in which some words appear more often than others. "
    "Memorize the ones that appear most often.\n"
    "Example. List: 1. dalo 2. mirten 3. dalo 4. sabu 5. mirten 6. dalo 7. kefis. "
    "The 2 most common words in the list: dalo, mirten.\n"
    "Question: What are the 10 most common words in the list?"
)


@dataclass(frozen=True)
class CommonWords(GeneratedTask):
    """A numbered list with ten common words; the question asks for them.

    `solved_by_code`: counting needs no reading. The density is linear, because the counts are fixed
    and therefore sparser in a longer list: its first 5 percent have a recall of .51, .38, .27 and
    .17 at 4k, 16k, 64k and 256k tokens; about a quarter suffices (.95 to .98) at each.
    """

    name: str = "ruler_cwe_gen"

    solved_by_code: ClassVar[bool] = True
    density: ClassVar[Density] = Density.LINEAR
    ANSWER_BUDGET: ClassVar[int] = 120
    OUTPUT_CAP: ClassVar[int | None] = 120
    SHORTEST: ClassVar[int] = 1024  # below, common words make up nearly all of the list

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.length < self.SHORTEST:
            raise ValueError(
                f"length={self.length} must be {self.SHORTEST} or more for {self.name}"
            )

    def draft(self, index: int) -> Draft:
        """One sample; a longer one has more of the other words."""
        most, few = (30, 3) if self.length >= _SHORT else (6, 1)
        words = _Words(rng("ruler_cwe", self.seed, index))
        golds = [words.next() for _ in range(_COMMON)]
        other: list[str] = []
        cost: dict[str, float] = {}

        def entry(word: str) -> float:
            found = cost.get(word)
            if found is None:
                found = cost[word] = self.counter.cost(f" {word}\n")
            return found

        def make(budget: float, slack: float) -> str:
            spent, count, place = 0.0, 0, 0
            numbers = _Numbers(self)

            def add(word: str, times: int) -> float:
                return sum(numbers.cost(count + k + 1) for k in range(times)) + times * entry(word)

            entries: list[str] = []
            for word in golds:
                spent += add(word, most)
                count += most
                entries += [word] * most
            while True:
                if place == len(other):
                    other.append(words.next())
                step = add(other[place], few)
                if spent + step > budget:
                    break
                entries += [other[place]] * few
                spent, count, place = spent + step, count + few, place + 1
            while len(other) < place + _SPARE:
                other.append(words.next())
            spare = other[place : place + _SPARE]
            number = numbers.cost(count + 2)
            costs = [number + entry(word) for word in spare]
            entries += [spare[i] for i in top_up(costs, budget - spent, slack)]
            rng("ruler_cwe order", self.seed, index).shuffle(entries)
            return "".join(f"{i}. {word}\n" for i, word in enumerate(entries, 1))

        text, tokens = fit(make, self.room(_QUESTION), self.length, self.counter)
        ranked = Counter(_words_of(text)).most_common(_COMMON + 1)
        assert sorted(w for w, _ in ranked[:_COMMON]) == sorted(golds), "other words are common"
        assert ranked[_COMMON][1] <= few, "a word that is not asked appears too often"
        item = f"cwe-{self.seed}-{index}"
        meta = {"gold_count": most, "other_count": few}
        return Draft(_QUESTION, text, golds, item, item, tokens, (), meta)

    def score(self, sample: Sample, answer: Answer) -> tuple[Score, ...]:
        """RULER's recall, and recall of whole words."""
        text = answer.text or ""
        return ruler_all(sample.target, text), ruler_strict(sample.target, text)

    def floors(self) -> Mapping[str, Floor]:
        """Count the whole text; count its first tenth (as sampling would)."""
        return {"count": lambda s: _most(s, 1.0), "count_first_tenth": lambda s: _most(s, 0.1)}

    def baselines(self) -> Sequence[Baseline]:
        """Count the whole text (solves it), and its first 5 and 25 percent."""
        return counting(_most)


class _Words:
    """Invented words of two to four syllables, without duplicates."""

    def __init__(self, source: random.Random) -> None:
        self.source, self.seen = source, set[str]()

    def next(self) -> str:
        """The next word."""
        pick = self.source.choice
        while True:
            count = self.source.randrange(2, 5)
            word = "".join(pick(_FIRST) + pick(_VOWELS) for _ in range(count)) + pick(_LAST)
            if word not in self.seen:
                self.seen.add(word)
                return word


class _Numbers:
    """Tokens of an entry's number, by its digits."""

    def __init__(self, task: GeneratedTask) -> None:
        self.known = [task.counter.cost("1" * digits + ".") for digits in range(1, 10)]

    def cost(self, number: int) -> float:
        """Tokens of `number` and its full stop."""
        return self.known[len(str(number)) - 1]


def _words_of(text: str) -> list[str]:
    return re.findall(r"\. ([a-z]+)", text)


def _most(sample: Sample, share: float) -> str:
    words = _words_of(sample.context.text())
    ranked = Counter(words[: max(1, int(len(words) * share))]).most_common(_COMMON)
    return ", ".join(word for word, _ in ranked)
