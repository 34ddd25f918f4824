"""Server log: the duration in minutes of an incident that three log lines determine together.

Log forensics on a small scale: each service logs its purpose once, and later a fault and the
recovery, in an engineer's words. The question names neither the service nor the fault: it describes
in a customer's words which part of the shop was affected and how. The minutes are the difference of
two times and do not appear in the log. Other services have the same purpose and other faults, or
another purpose and the queried fault, so that neither is rarer than others in a long log; question
and log share no content words. Our own task; it follows no benchmark.
"""

from __future__ import annotations

import itertools
import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from rlm_eval.core.types import Answer, Sample, Score
from rlm_eval.scoring.amount import amount
from rlm_eval.tasks import Floor, stamped
from rlm_eval.tasks.base import Draft, GeneratedTask, data, rng
from rlm_eval.tasks.baselines import Baseline, Kind, Reply

_DAY = 24 * 60
_SPARE = 260  # general lines beyond the length, candidates for an exact fit
_LINES = 5  # per service: its purpose, and the start and end of two faults


@dataclass(frozen=True)
class _Service:
    """One service's log lines, in time order."""

    name: str
    lines: list[str]
    """Purpose, then the starts and ends of two faults; each start is before its end."""
    asked: tuple[int, int]
    """Indices of the start and the end of the queried fault."""


@dataclass(frozen=True)
class ServerLogIncident(GeneratedTask):
    """See the module's docstring."""

    name: str = "server_log_incident"

    VERSION: ClassVar[int] = 2  # 1: in a long log only the queried purpose appeared once
    ANSWER_BUDGET: ClassVar[int] = 32
    SHORTEST: ClassVar[int] = 1024  # below, there is no room for other services

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.length < self.SHORTEST:
            raise ValueError(
                f"length={self.length} must be {self.SHORTEST} or more for {self.name}"
            )

    def draft(self, index: int) -> Draft:
        """One sample; a longer one has more services on the same day."""
        texts = data("incidents.json")
        source = rng("server_log", self.seed, index)
        role = source.randrange(len(texts["roles"]))
        fault, way = source.randrange(len(texts["faults"])), source.randrange(3)
        service = _service(source, role, fault, way, fault)
        minutes = sorted(source.sample(range(5, _DAY - 5), _LINES))
        start, end = (minutes[place] for place in service.asked)
        question = (
            "The log covers one day of an online shop. For how many minutes did the part of the "
            f"shop that {source.choice(texts['roles'][role][1])} "
            f"{source.choice(texts['faults'][fault][1])}? The log tells it in an engineer's words. "
            "Answer with the number of minutes alone."
        )
        needles = [f"{line}\n" for line in service.lines]

        def arrange(lines: list[str]) -> list[str]:
            clock = rng("server_log times", self.seed, index)
            found = list(zip(minutes, needles, strict=True))
            # Random, as for the needles: at even distances the needles would stand out.
            found += zip(sorted(clock.choices(range(_DAY), k=len(lines))), lines, strict=True)
            return [_clock(m) + line for m, line in sorted(found, key=lambda pair: pair[0])]

        def filler(budget: float) -> tuple[list[str], npt.NDArray[np.float64]]:
            other = rng("server_log filler", self.seed, index)
            return self._filler(other, service.name, (role, fault), budget)

        text, tokens, spans = stamped.build(
            filler, needles, arrange, _clock(600), self.room(question), self.length, self.counter
        )
        _check(text, service)
        evidence = tuple(spans[place] for place in (0, *service.asked))
        item = f"log-{self.seed}-{index}"
        meta = {"role": role, "fault": fault, "start": start, "end": end}
        return Draft(question, text, end - start, item, item, tokens, evidence, meta)

    def _filler(
        self, source: random.Random, name: str, asked: tuple[int, int], budget: float
    ) -> tuple[list[str], npt.NDArray[np.float64]]:
        """The lines of whole services and some general ones, then spare general lines.

        A truncated service would distinguish the queried one from the others. Every role is equally
        frequent. For half of the roles, the queried one included, exactly one service has the
        queried fault: counting leaves that many candidates at any length.
        """
        texts, (role, fault) = data("incidents.json"), asked
        every = list(range(len(texts["roles"])))
        once = {role, *source.sample([r for r in every if r != role], len(every) // 2 - 1)}
        had, turn = {role}, 0
        stamp = self.counter.cost(_clock(600).strip())
        names = {name}
        services: list[list[str]] = []
        costs: dict[str, float] = {}
        spent = 0.0

        def general() -> str:
            line = source.choice(texts["general"]).format(n=source.randrange(2, 1000))
            return f"node-{source.randrange(10, 100)}: {line}\n"

        def cost(lines: Sequence[str]) -> float:
            for line in lines:
                costs.setdefault(line, self.counter.cost(f" {line}"))
            return sum(costs[line] + stamp for line in lines)

        def other_than(fault: int) -> int:
            return source.choice([f for f in range(len(texts["faults"])) if f != fault])

        while True:
            if turn % len(every) == 0:
                source.shuffle(every)
            own, turn = every[turn % len(every)], turn + 1
            way = source.randrange(3)
            made = _service(source, own, other_than(fault) if own in had else fault, way, fault)
            lines = [f"{line}\n" for line in made.lines]
            extra = [general() for _ in range(source.randrange(2))]
            step = cost([*lines, *extra])
            if spent + step > budget:
                break
            if made.name not in names:
                names.add(made.name)
                had |= {own} & once
                services += [lines, *([line] for line in extra)]
                spent += step
        while True:
            line = general()
            spent += cost([line])
            if spent > budget:
                break
            services.append([line])
        # Lines fall anywhere in the day; those of one service keep their order.
        order = [number for number, lines in enumerate(services) for _ in lines]
        source.shuffle(order)
        rest = [iter(lines) for lines in services]
        found = [next(rest[number]) for number in order]
        spare = [general() for _ in range(_SPARE)]
        cost(spare)
        return found + spare, np.array([costs[line] for line in found + spare])

    def score(self, sample: Sample, answer: Answer) -> tuple[Score, ...]:
        """1 where the answer's number of minutes is correct."""
        return (amount(int(sample.target), "minutes", answer.text),)

    def floors(self) -> Mapping[str, Floor]:
        """The best constant; the first pair of lines with the phrases of a fault."""
        return {"constant": lambda _: "240", "first_pair": _first_pair}

    def baselines(self) -> Sequence[Baseline]:
        """The best constant; pairs of lines selected by the generator's own phrases."""
        return (
            Baseline("constant", Kind.PRIOR, lambda _: Reply("240", 0.0)),
            Baseline("first_pair", Kind.NO_MODEL, lambda s: Reply(_first_pair(s), 1.0)),
            Baseline("longest_pair", Kind.NO_MODEL, lambda s: Reply(_longest_pair(s), 1.0)),
        )


def _clock(minute: int) -> str:
    return f"{minute // 60:02d}:{minute % 60:02d} "


def _service(source: random.Random, role: int, fault: int, way: int, asked: int) -> _Service:
    """A service with `role`; `fault` described in this `way`, another fault not `asked`."""
    texts = data("incidents.json")
    name = f"{source.choice(data('words.json')['nouns'])}-{source.randrange(100, 1000)}"
    other = source.choice([f for f in range(len(texts["faults"])) if f not in (fault, asked)])
    pairs = [texts["faults"][fault][0][way], source.choice(texts["faults"][other][0])]
    order = [0, 0, 1, 1]
    source.shuffle(order)
    said = [f"{name}: {source.choice(texts['roles'][role][0])}"]
    left = [iter(pair) for pair in pairs]
    said += [f"{name}: {next(left[which])}" for which in order]
    first, second = (1 + place for place, which in enumerate(order) if which == 0)
    return _Service(name, said, (first, second))


def _check(text: str, service: _Service) -> None:
    """Check that the service logs exactly its own lines and that times never decrease."""
    lines = text.splitlines()
    own = [line[6:] for line in lines if line[6:].startswith(f"{service.name}: ")]
    if own != service.lines or any(a[:5] > b[:5] for a, b in itertools.pairwise(lines)):
        raise AssertionError(f"{service.name}: other lines, or times that go back")


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
