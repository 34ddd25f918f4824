"""Server log: for how many minutes the services with one duty had one fault, added up.

Log forensics on a small scale: each service logs its purpose once, and later two faults and their
recoveries, in an engineer's words. The question names neither a service nor the fault: it describes
in a customer's words the duty and the fault. Two or more services match; the minutes are
differences of two times and do not appear in the log. Services come in pairs with the same duty and
a common fault, the queried ones like all others, at any length: no duty, fault or combination is
rarer or more frequent than others. Question and log share no content words. Whoever reads the first
line of every service and then searches for the matching names needs a fifth of the text. Our own
task; it follows no benchmark.
"""

from __future__ import annotations

import itertools
import random
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from rlm_eval.core.types import Answer, Density, Sample, Score
from rlm_eval.scoring.amount import amount
from rlm_eval.tasks import Floor, stamped
from rlm_eval.tasks.base import Draft, GeneratedTask, data, rng
from rlm_eval.tasks.baselines import Baseline, Kind, Reply
from rlm_eval.tasks.grouping import group_skimmers, index_skimmer

_DAY = 24 * 60
_SPARE = 260  # general lines beyond the length, candidates for an exact fit
_LINES = 5  # per service: its purpose, and the start and end of two faults
_AFTER = 9  # general lines after all others, of which the length may drop some


@dataclass(frozen=True)
class _Service:
    """One service's log lines, in time order."""

    name: str
    role: int
    lines: list[str]
    """Purpose, then the starts and ends of two faults; each start is before its end."""
    faults: dict[int, tuple[int, int]]
    """Fault -> indices of its start and its end."""


@dataclass(frozen=True)
class ServerLogIncident(GeneratedTask):
    """See the module's docstring.

    `solved_by_code`: the first line of every service states its duty, and a search for the names of
    the matching ones finds their faults; together a fifth of the text (baseline `first_lines`).
    """

    name: str = "server_log_incident"

    # 1: in a long log only the queried purpose appeared once. 2: counts of phrases left eight
    # services at any length, so that a skimmer read one percent of a long log.
    VERSION: ClassVar[int] = 3
    solved_by_code: ClassVar[bool] = True  # by first lines and names
    density: ClassVar[Density] = Density.LINEAR
    ANSWER_BUDGET: ClassVar[int] = 32
    SHORTEST: ClassVar[int] = 1024  # below, there is no room for other services

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.length < self.SHORTEST:
            raise ValueError(
                f"length={self.length} must be {self.SHORTEST} or more for {self.name}"
            )

    def draft(self, index: int) -> Draft:
        """One sample; a longer one has more services on the same day, of which some match."""
        texts = data("incidents.json")
        source = rng("server_log", self.seed, index)
        role, fault = source.randrange(len(texts["roles"])), source.randrange(len(texts["faults"]))
        own = _pair(source, role, fault)
        minutes = [
            minute for _ in own for minute in sorted(source.sample(range(5, _DAY - 5), _LINES))
        ]
        question = (
            "The log covers one day of an online shop. For how many minutes did services that "
            f"{source.choice(texts['roles'][role][1])} {source.choice(texts['faults'][fault][1])}? "
            "The log tells it in an engineer's words. Several services have that duty: add up the "
            "minutes of each one, also where they overlap. Answer with the number of minutes alone."
        )
        needles = [f"{line}\n" for service in own for line in service.lines]
        others: list[_Service] = []

        def arrange(lines: list[str]) -> list[str]:
            clock = rng("server_log times", self.seed, index)
            found = list(zip(minutes, needles, strict=True))
            # Random, as for the needles: at even distances the needles would stand out.
            found += zip(sorted(clock.choices(range(_DAY), k=len(lines))), lines, strict=True)
            return [_clock(m) + line for m, line in sorted(found, key=lambda pair: pair[0])]

        def filler(budget: float) -> tuple[list[str], npt.NDArray[np.float64]]:
            other = rng("server_log filler", self.seed, index)
            others[:], lines, costs = self._filler(other, own, budget)
            return lines, costs

        text, tokens, _ = stamped.build(
            filler, needles, arrange, _clock(600), self.room(question), self.length, self.counter
        )
        _check(text, [*own, *others])
        match = [s for s in (*own, *others) if s.role == role and fault in s.faults]
        spans = {(s.name, n): _place(text, s, n) for s in match for n in (0, *s.faults[fault])}
        lasted = [
            _minute(text, spans[s.name, end]) - _minute(text, spans[s.name, start])
            for s in match
            for start, end in (s.faults[fault],)
        ]
        evidence = tuple(sorted(spans.values()))
        item = f"log-{self.seed}-{index}"
        meta = {"role": role, "fault": fault, "matches": len(match)}
        return Draft(question, text, sum(lasted), item, item, tokens, evidence, meta)

    def _filler(
        self, source: random.Random, own: Sequence[_Service], budget: float
    ) -> tuple[list[_Service], list[str], npt.NDArray[np.float64]]:
        """Other services, their lines and some general ones, then spare general lines; costs.

        Services come in pairs, and every role once in each turn, as the queried pair does: a
        truncated pair or another count would distinguish it.
        """
        texts = data("incidents.json")
        stamp = self.counter.cost(_clock(600).strip())
        names = {service.name for service in own}
        services: list[_Service] = []
        units: list[list[str]] = []
        costs: dict[str, float] = {}
        spent = 0.0

        def general() -> str:
            line = source.choice(texts["general"]).format(n=source.randrange(2, 1000))
            return f"node-{source.randrange(10, 100)}: {line}\n"

        def cost(lines: Sequence[str]) -> float:
            for line in lines:
                costs.setdefault(line, self.counter.cost(f" {line}"))
            return sum(costs[line] + stamp for line in lines)

        after = [general() for _ in range(_AFTER)]
        spent += cost(after)
        for role, first in _turns(source, len(texts["roles"]), own[0].role):
            pair = _pair(source, role, source.randrange(len(texts["faults"])), first)
            lines = [[f"{line}\n" for line in service.lines] for service in pair]
            extra = [general() for _ in range(source.randrange(3))]
            step = cost([*itertools.chain(*lines), *extra])
            if spent + step > budget:
                break
            new = {service.name for service in pair}
            if len(new) == len(pair) and not new & names:
                names |= new
                services += pair
                units += [*lines, *([line] for line in extra)]
                spent += step
        while True:
            line = general()
            spent += cost([line])
            if spent > budget:
                break
            units.append([line])
        # Lines fall anywhere in the day; those of one service keep their order.
        order = [number for number, lines in enumerate(units) for _ in lines]
        source.shuffle(order)
        rest = [iter(lines) for lines in units]
        found = [next(rest[number]) for number in order] + after
        spare = [general() for _ in range(_SPARE)]
        cost(spare)
        return services, found + spare, np.array([costs[line] for line in found + spare])

    def score(self, sample: Sample, answer: Answer) -> tuple[Score, ...]:
        """1 where the answer's number of minutes is correct."""
        return (amount(int(sample.target), "minutes", answer.text),)

    def floors(self) -> Mapping[str, Floor]:
        """The best constant; the first pair of lines with the phrases of a fault."""
        return {"constant": lambda _: "1000", "first_pair": _first_pair}

    def baselines(self) -> Sequence[Baseline]:
        """The best constant; the generator's own phrases; whole services; first lines."""
        return (
            Baseline("constant", Kind.PRIOR, lambda _: Reply("1000", 0.0)),
            Baseline("first_pair", Kind.NO_MODEL, lambda s: Reply(_first_pair(s), 1.0)),
            Baseline("longest_pair", Kind.NO_MODEL, lambda s: Reply(_longest_pair(s), 1.0)),
            *group_skimmers(_NAME, r"^\d\d:\d\d ", lambda s: str(s.target)),
            index_skimmer("first_lines", _NAME, lambda _, own: own[:1], lambda s: str(s.target)),
        )


_NAME = re.compile(r"\d\d:\d\d (?!node-)(\S+): ")
"""A service in a line of the log."""


def _clock(minute: int) -> str:
    return f"{minute // 60:02d}:{minute % 60:02d} "


def _turns(source: random.Random, count: int, asked: int) -> Iterator[tuple[int, bool]]:
    """(role, whether it is the first turn), each role once in a turn; the queried one had one."""
    for turn in itertools.count():
        roles = [role for role in range(count) if turn or role != asked]
        source.shuffle(roles)
        yield from ((role, not turn) for role in roles)


def _pair(source: random.Random, role: int, fault: int, apart: bool = True) -> list[_Service]:
    """Two services with `role` and `fault`, in different words, and another fault each.

    `apart`: state the role in different words, too. Later pairs of a role do not, so that the
    counts of its phrases differ: equal ones would link its services.
    """
    texts = data("incidents.json")
    purposes = source.sample(texts["roles"][role][0], 2)
    ways = source.sample(texts["faults"][fault][0], 2)
    if not apart:
        purposes = purposes[:1] * 2
    return [_service(source, role, p, fault, w) for p, w in zip(purposes, ways, strict=True)]


def _service(
    source: random.Random, role: int, purpose: str, fault: int, way: Sequence[str]
) -> _Service:
    """A service with the purpose; `fault` described in this `way`, and another fault."""
    texts = data("incidents.json")
    name = f"{source.choice(data('words.json')['nouns'])}-{source.randrange(100, 1000)}"
    other = source.choice([f for f in range(len(texts["faults"])) if f != fault])
    pairs = [way, source.choice(texts["faults"][other][0])]
    order = [0, 0, 1, 1]
    source.shuffle(order)
    left = [iter(pair) for pair in pairs]
    said = [f"{name}: {purpose}", *(f"{name}: {next(left[which])}" for which in order)]
    places = [[1 + place for place, which in enumerate(order) if which == n] for n in (0, 1)]
    faults = {
        which: (start, end) for which, (start, end) in zip((fault, other), places, strict=True)
    }
    return _Service(name, role, said, faults)


def _check(text: str, services: Sequence[_Service]) -> None:
    """Check that the services log exactly their own lines and that times never decrease."""
    logged: dict[str, list[str]] = {service.name: [] for service in services}
    rows = text.splitlines()
    for row in rows:
        logged.get(row[6:].partition(": ")[0], []).append(row[6:])
    if any(logged[service.name] != service.lines for service in services):
        raise AssertionError("a service logs other lines than its own")
    if any(a[:5] > b[:5] for a, b in itertools.pairwise(rows)):
        raise AssertionError("times go back")


def _place(text: str, service: _Service, number: int) -> tuple[int, int]:
    """Span of the service's line `number`, without its time."""
    start = text.index(f" {service.lines[number]}\n") + 1
    return start, start + len(service.lines[number])


def _minute(text: str, span: tuple[int, int]) -> int:
    """Minute of the day of the line with this span."""
    hour, minute = text[span[0] - 6 : span[0] - 1].split(":")
    return int(hour) * 60 + int(minute)


def _pairs(sample: Sample) -> list[int]:
    """Minutes of every fault in the log, by the generator's phrases without their meaning."""
    texts = data("incidents.json")
    ends = {end: start for ways, _ in texts["faults"] for start, end in ways}
    open_since: dict[tuple[str, str], int] = {}
    found = []
    for line in sample.context.text().splitlines():
        match = re.fullmatch(r"(\d\d):(\d\d) (\S+): (.*)", line)
        if not match:
            continue
        hours, minutes, service, what = match.groups()
        minute = int(hours) * 60 + int(minutes)
        open_since[service, what] = minute
        if (service, ends.get(what, "")) in open_since:
            found.append(minute - open_since[service, ends[what]])
    return found


def _first_pair(sample: Sample) -> str:
    found = _pairs(sample)
    return str(found[0]) if found else ""


def _longest_pair(sample: Sample) -> str:
    found = _pairs(sample)
    return str(max(found)) if found else ""
