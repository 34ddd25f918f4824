"""RULER's variable tracking (`vt`) and frequent words (`fwe`), generated.

Follow NVIDIA/RULER `variable_tracking.py` and `freq_words_extraction.py` @c3f5e3b in form, answer
budget and metric. Unlike there, all names and values are distinct (a collision created a spurious
chain), and an item keeps its names, values and words at every length. A search or a count solves
both without reading (`solved_by_code`). Needles are in `s_niah`, common words in `ruler_cwe`,
question answering in `ruler_qa`.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from rlm_eval.core.types import Answer, Density, Sample, Score
from rlm_eval.scoring.match import ruler_all, ruler_strict
from rlm_eval.tasks import Floor, haystack
from rlm_eval.tasks.base import Draft, GeneratedTask, fit, rng, top_up
from rlm_eval.tasks.baselines import Baseline, Kind, Reply

_UPPER = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_EXAMPLE = (
    "Example. Text: VAR QDF = 90210. Some words. VAR KLE = VAR QDF. More words. VAR WPA = VAR KLE. "
    "Variables assigned the value 90210: QDF, KLE, WPA.\n"
)


@dataclass(frozen=True)
class VariableTracking(GeneratedTask):
    """Chains of assignments scattered over filler; the question asks for all names with one value.

    `solved_by_code`: a regular expression, applied once per link, finds every name.
    """

    name: str = "ruler_vt_gen"
    chains: int = 1
    """Number of chains; the first is asked, the others are distractors."""
    hops: int = 4
    """Links of a chain: it has hops + 1 names."""
    haystack: str = "noise"
    """`noise` (RULER's) or `prose`."""

    solved_by_code: ClassVar[bool] = True
    ANSWER_BUDGET: ClassVar[int] = 30
    OUTPUT_CAP: ClassVar[int | None] = 30

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.chains < 1 or self.hops < 1 or self.haystack not in ("noise", "prose"):
            raise ValueError("chains and hops: 1 or more; haystack: noise or prose")

    def draft(self, index: int) -> Draft:
        """One sample; only its filler depends on the length."""
        source = rng("ruler_vt", self.seed, index)
        names: dict[str, None] = {}
        while len(names) < self.chains * (self.hops + 1):
            names["".join(source.choices(_UPPER, k=5))] = None
        values = source.sample(range(10_000, 99_999), self.chains)
        left, golds = list(names), list[str]()
        needles: list[tuple[float, str, int]] = []
        for chain, value in enumerate(values):
            own, left = left[: self.hops + 1], left[self.hops + 1 :]
            golds = golds or own
            said = [str(value), *(f"VAR {name}" for name in own)]
            depths = sorted(source.random() for _ in own)
            lines = [f"VAR {name} = {said[i]}." for i, name in enumerate(own)]
            needles += [(d, line, chain) for d, line in zip(depths, lines, strict=True)]
        question = (
            "Memorize and track the chain(s) of variable assignment hidden in the text.\n"
            f"{_EXAMPLE}Question: Find all variables that are assigned the value {values[0]} "
            "in the text."
        )
        seed = f"vt|{self.seed}|{index}"
        if self.haystack == "noise":
            filler = haystack.noise(self.counter)
        else:
            filler = haystack.Prose(self.counter, seed, decoys=False)
        text, tokens, spans = haystack.build(
            filler, [n[:2] for n in needles], self.room(question), self.length, self.counter
        )
        evidence = [s for s, needle in zip(spans, needles, strict=True) if needle[2] == 0]
        item = f"vt-{self.seed}-{index}"
        meta = {"hops": self.hops, "chains": self.chains}
        return Draft(question, text, golds, item, item, tokens, tuple(sorted(evidence)), meta)

    def score(self, sample: Sample, answer: Answer) -> tuple[Score, ...]:
        """RULER's recall, and a strict score that penalises wrong names."""
        text = answer.text or ""
        return ruler_all(sample.target, text), ruler_strict(sample.target, text)

    def floors(self) -> Mapping[str, Floor]:
        """The loop that code would run; only the first name."""
        return {"follow_chain": _follow_chain, "direct_only": _direct_only}

    def baselines(self) -> Sequence[Baseline]:
        """A search for each link (solves it); only the first name."""
        return (
            Baseline("follow_chain", Kind.NO_MODEL, lambda s: Reply(_follow_chain(s), 1.0)),
            Baseline("direct_only", Kind.NO_MODEL, lambda s: Reply(_direct_only(s), 1.0)),
        )


def _direct_only(sample: Sample) -> str:
    value = re.findall(r"value (\d+) in the text", sample.question)[-1]
    return ", ".join(re.findall(rf"VAR ([A-Z]{{5}}) = {value}\b", sample.context.text()))


def _follow_chain(sample: Sample) -> str:
    text, names = sample.context.text(), _direct_only(sample).split(", ")
    for name in names:  # the list grows during the iteration
        names += re.findall(rf"VAR ([A-Z]{{5}}) = VAR {name}\b", text)
    return ", ".join(names)


@dataclass(frozen=True)
class FrequentWords(GeneratedTask):
    """Coded words with Zipf counts (alpha = 2); the question asks for the three most frequent.

    `solved_by_code`: counting needs no reading. The density is constant, because a sample of fixed
    size suffices: the first 300 words (of 2,100 at 4k, of 34,800 at 64k) give a recall of .93 to
    .96, the first 1,000 give .99 or more at every length. `CloseWords` requires the whole text.
    """

    name: str = "ruler_fwe_gen"

    density: ClassVar[Density] = Density.CONSTANT
    solved_by_code: ClassVar[bool] = True
    ANSWER_BUDGET: ClassVar[int] = 50
    OUTPUT_CAP: ClassVar[int | None] = 50
    SHORTEST: ClassVar[int] = 512  # below, ranks 3 and 4 tie, or fillers outnumber them
    SIZE: ClassVar[int] = 0  # words in addition to one per 50 tokens
    REST: ClassVar[float] = 12.0  # tokens filled by up to three single words
    FIXED: ClassVar[int] = 4  # first words whose counts stay as drawn

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.length < self.SHORTEST:
            raise ValueError(
                f"length={self.length} must be {self.SHORTEST} or more for {self.name}"
            )

    def draft(self, index: int) -> Draft:
        """One sample. Rank 1 is the dots, as in RULER; the golds are ranks 2 to 4."""
        source = rng("ruler_fwe", self.seed, index)
        size = self.SIZE + max(20, self.length // 50)
        drawn: dict[str, None] = {"...": None}
        while len(drawn) < size:
            drawn["".join(source.choices(_UPPER.lower(), k=6))] = None
        words = list(drawn)
        costs = [self.counter.cost(f" {word}") for word in words]

        def make(budget: float, slack: float) -> str:
            low, high = 0, int(budget * 4)
            while low < high:  # find the most words whose counts still fit
                middle = (low + high + 1) // 2
                spent = sum(c * n for c, n in zip(costs, self.numbers(middle, size), strict=True))
                low, high = (middle, high) if spent <= budget else (low, middle - 1)
            number = self.numbers(low, size)
            spent = sum(c * n for c, n in zip(costs, number, strict=True))
            place = size
            while budget - spent > 12 and place > self.FIXED + 4:  # several counts changed at once
                place -= 1
                number[place] += 1
                spent += costs[place]
            for extra in top_up(costs[self.FIXED : place], budget - spent, slack):
                number[self.FIXED + extra] += 1
            text = [word for word, n in zip(words, number, strict=True) for _ in range(n)]
            rng("ruler_fwe order", self.seed, index).shuffle(text)
            return " ".join(text)

        question = (
            "Read the coded text and track the frequency of each coded word. Do not provide any "
            "explanation. Please ignore the dots '...'. What are the three most frequently "
            "appeared words in the coded text?"
        )
        text, tokens = fit(make, self.room(question), self.length, self.counter)
        # One word at a time: a list of all words would take ten times the text's memory.
        found = (match.group() for match in re.finditer(r"\S+", text))
        ranked = Counter(word for word in found if word != "...").most_common(4)
        golds = sorted((word for word, _ in ranked[:3]), key=words.index)
        assert golds == words[1:4], "the counts of the rendered text are not the drawn ones"
        assert ranked[2][1] > ranked[3][1], "ranks 3 and 4 tie"
        item = f"fwe-{self.seed}-{index}"
        meta = {"gold_count": ranked[2][1], "next_count": ranked[3][1]}
        return Draft(question, text, golds, item, item, tokens, (), meta)

    def numbers(self, total: int, size: int) -> list[int]:
        """Counts of ranks 1 to `size` in about `total` words."""
        return [int(total * 6 / math.pi**2 / rank**2) for rank in range(1, size + 1)]

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


def counting(answer: Callable[[Sample, float], str]) -> Sequence[Baseline]:
    """Baselines of a counting task; `answer(sample, share)` counts the first share of the text."""

    def rule(share: float) -> Callable[[Sample], Reply]:
        return lambda sample: Reply(answer(sample, share), share)

    return (
        Baseline("count", Kind.NO_MODEL, rule(1.0)),
        Baseline("count_first_25_percent", Kind.SKIMMER, rule(0.25)),
        Baseline("count_first_5_percent", Kind.SKIMMER, rule(0.05)),
    )


def _most(sample: Sample, share: float) -> str:
    words = [w for w in sample.context.text().split() if w != "..."]
    ranked = Counter(words[: max(1, int(len(words) * share))]).most_common(3)
    return ", ".join(word for word, _ in ranked)


_RIVALS = 20  # words of nearly equal counts, including the three golds


@dataclass(frozen=True)
class CloseWords(FrequentWords):
    """Frequent words with nearly equal counts: a part of the text does not suffice.

    `solved_by_code`: counting needs no reading. The golds exceed 17 other words by 0.6 times the
    square root of their count, so that no share of the text distinguishes them at any length: its
    first quarter has a recall of .18 to .31, its first half .27 to .37 (chance .15). Ours, not in
    RULER.
    """

    name: str = "ruler_fwe_close_gen"

    density: ClassVar[Density] = Density.LINEAR
    SIZE: ClassVar[int] = 60
    REST: ClassVar[float] = 5.0
    FIXED: ClassVar[int] = 1 + _RIVALS

    def numbers(self, total: int, size: int) -> list[int]:
        """Counts of the dots, the golds, their rivals and the rare words, in that order."""
        common = int(total * 0.6 / _RIVALS)
        # In a share f of the text the lead is f times this; its noise is sqrt(2 f (1 - f) common).
        lead = max(2, round(0.6 * math.sqrt(common)))
        dots = max(int(total * 0.2), common + lead + 1)
        others = size - 1 - _RIVALS
        each, more = divmod(min(int(total * 0.2), others * (common // 2)), others)
        rare = [each + (place < more) for place in range(others)]
        return [dots, *[common + lead] * 3, *[common] * (_RIVALS - 3), *rare]
