"""Baseline scores of a cell without a model: prior, no-model rule, skimmer, bag of words.

Every rule (`guessing`, `skimming`, the task's `floors()` and `baselines()`) answers the same
samples, and the task's own scorer scores it. The best rule of each kind is reported. It is selected
on one half of the samples and scored on the other, both ways (cross-fitting), so that many rules do
not win by chance; one rule per kind of question is also tried. Work is bounded (`MOST`,
`CHARACTERS`); results are cached by sample ids. Scores that need a judge are excluded: the first of
the task's scores that needs none counts.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from rlm_eval.core.baseline_kinds import SCHEMA as SCHEMA
from rlm_eval.core.code_hash import running_hash
from rlm_eval.core.paths import cache_dir, write_atomic
from rlm_eval.core.types import Answer, Sample, text_hash
from rlm_eval.tasks import Task
from rlm_eval.tasks.baselines import Baseline, Kind, Reply
from rlm_eval.tasks.checked import value_of
from rlm_eval.tasks.guessing import (
    Form,
    constants,
    few_golds,
    frequent_in,
    groupings,
    guesses,
    kinds,
    options,
)
from rlm_eval.tasks.items import Page
from rlm_eval.tasks.skimming import BUDGETS, Seen, phrases, skimmers

MOST = 100
"""Maximum samples of a cell to measure."""
CHARACTERS = 24_000_000
"""Maximum characters of their contexts together (the first sample is always used): a few
seconds."""
FEW = 10
"""Samples: below this the best rule is selected and scored on the same samples."""
_SINGLED_OUT = 0.3  # maximum share of a text for its evidence to count as singled out
_OF_A_KIND = 4  # minimum samples of a kind of question, in the other half, for a separate rule

Values = NDArray[np.float64]


@dataclass
class _Rule:
    """One rule's scores and shares of text read, by sample number."""

    kind: Kind
    scores: dict[int, float]
    reads: dict[int, float]


@dataclass(frozen=True)
class _Best:
    """The best rule of a kind."""

    name: str
    scores: Values
    reads: Values


def measure(task: Task, samples: Sequence[Sample]) -> dict[str, Any]:
    """Measure these samples' baselines, in the form of `records.baselines.Ceilings`.

    Cached where the same rules have answered the same samples. Propagates exceptions of the task's
    own rules.
    """
    chosen = bounded(samples)
    path = _cache_path(task, chosen)
    if path is not None and path.exists():
        known: dict[str, Any] = orjson.loads(path.read_bytes())
        return known
    made = _measure(task, chosen, len(samples))
    if path is not None:
        write_atomic(path, orjson.dumps(made))
    return made


def bounded(samples: Iterable[Sample]) -> list[Sample]:
    """The first samples within the bound on work."""
    chosen, size = list[Sample](), 0
    for sample in itertools.islice(samples, MOST):
        size += sample.context.chars
        if chosen and size > CHARACTERS:
            break
        chosen.append(sample)
    return chosen


def _cache_path(task: Task, samples: Sequence[Sample]) -> Path | None:
    cls = type(task)
    code = running_hash(f"{cls.__module__}.{cls.__qualname__}", cls)
    if code is None:  # unknown: its rules cannot be hashed
        return None
    facts = [cls.__qualname__, repr(task), code, _own_code(), [sample.id for sample in samples]]
    return cache_dir() / "baselines" / f"{text_hash(json.dumps(facts))}.json"


@functools.cache
def _own_code() -> str:
    """Hash of the modules with the common rules."""
    names = ("baselines", "ceilings", "guessing", "items", "keywords", "skimming")
    folder = Path(__file__).parent
    parts = (folder.joinpath(f"{name}.py").read_bytes() for name in names)
    return hashlib.sha256(b"\n".join(parts)).hexdigest()


def _measure(task: Task, samples: Sequence[Sample], of: int) -> dict[str, Any]:
    rules = _answered(task, samples)
    count = len(samples)
    folds, groups = _folds(samples), [np.array(names) for names in groupings(samples)]

    def best(*wanted: Kind, most: float = 1.0) -> _Best | None:
        own = {n: r for n, r in rules.items() if r.kind in wanted and _read(r) <= most}
        return _best(own, count, folds, groups, fallback) if own else None

    fallback = np.zeros(count)
    prior = best(Kind.PRIOR)
    assert prior is not None  # `constants` yields at least one
    if "chance" in rules:  # a constant chosen on half of balanced golds scores below chance
        chance = _Best("chance", _filled(rules["chance"], count, fallback), np.zeros(count))
        prior = _better(prior, chance)
    fallback = prior.scores
    figures = {
        Kind.PRIOR: prior,
        Kind.NO_MODEL: _better(prior, best(Kind.NO_MODEL)),
        Kind.SKIMMER: _better(prior, best(Kind.SKIMMER, most=BUDGETS[-1] / 100)),
        Kind.BAG_OF_WORDS: best(Kind.BAG_OF_WORDS),
    }
    steps = [_better(prior, best(Kind.SKIMMER, most=budget / 100)) for budget in BUDGETS]
    plain = {n: _filled(rule, count, fallback) for n, rule in rules.items()}
    return {
        "schema": SCHEMA,
        "samples": [sample.id for sample in samples],
        "of": of,
        "solved_by_code": bool(getattr(task, "solved_by_code", False)),
        "kinds": {str(kind): _told(found) for kind, found in figures.items() if found},
        "frontier": [
            {"name": step.name, "score": _mean(step.scores), "read": _mean(step.reads)}
            for step in [prior, *steps]
        ],
        "rules": [
            {"name": name, "kind": str(rule.kind), "score": _mean(plain[name]),
             "read": round(_read(rule), 4)}
            for name, rule in rules.items()
        ],
    }  # fmt: skip


def _better(prior: _Best, best: _Best | None) -> _Best:
    """The better of two; without another rule it is the prior."""
    return best if best is not None and _mean(best.scores) > _mean(prior.scores) else prior


def _told(best: _Best) -> dict[str, Any]:
    return {
        "name": best.name,
        "score": _mean(best.scores),
        "read": _mean(best.reads),
        "scores": np.round(best.scores, 4).tolist(),
        "reads": np.round(best.reads, 5).tolist(),
    }


def _mean(values: Values) -> float:
    return round(float(values.mean()), 4)


def _read(rule: _Rule) -> float:
    return sum(rule.reads.values()) / max(1, len(rule.reads))


def _answered(task: Task, samples: Sequence[Sample]) -> dict[str, _Rule]:
    """Scores of every rule on every sample that it applies to."""
    golds = [task.gold_answer(sample) for sample in samples]
    forms = [
        Form.of(gold.text or "", sample.target) for gold, sample in zip(golds, samples, strict=True)
    ]
    named = kinds(samples)
    found = [_evidence(sample) for sample in samples]
    rules: dict[str, _Rule] = {}
    for number, sample in enumerate(samples):
        page = Page.of(sample)
        known: dict[str, float] = {}

        def value(text: str, sample: Sample = sample, known: dict[str, float] = known) -> float:
            if text not in known:
                known[text] = value_of(task, sample, Answer(text))
            return known[text]

        def keep(kind: Kind, name: str, score: float, read: float, number: int = number) -> None:
            rule = rules.setdefault(name, _Rule(kind, {}, {}))
            rule.scores[number], rule.reads[number] = score, read

        others = [i for i in range(len(samples)) if i != number]
        same = [i for i in others if named[i] == named[number]]
        others = same if len(same) > 2 else others
        form = forms[number]
        # A rule's name contains its constant: use none from a text that must not leave the run.
        few = (
            []
            if getattr(task, "protected", False)
            else few_golds([forms[i] for i in same] + [form])
        )
        for name, text in constants(form, [forms[i] for i in others], few):
            if text is not None:
                keep(Kind.PRIOR, name, value(text), 0.0)
        if choices := [(key,) for key, _ in options(sample.question)] or few:
            each = [value(form.around(*cores)) for cores in choices]
            keep(Kind.PRIOR, "chance", sum(each) / len(each), 0.0)
        told = [(forms[i], samples[i].context.tokens) for i in others]
        for name, text in guesses(page, form, told):
            if text is not None:
                keep(Kind.NO_MODEL, name, value(text), 1.0)
        for budget in BUDGETS:
            name, text = frequent_in(page, form, budget / 100)
            if text is not None:
                keep(Kind.SKIMMER, name, value(text), budget / 100)
        right = value_of(task, sample, golds[number])
        for skimmed in skimmers(page, _seen(found, [i for i in others if i != number])):
            rule = rules.setdefault(skimmed.name, _Rule(Kind.SKIMMER, {}, {}))
            rule.reads[number] = page.read(skimmed.chosen)
            if page.covers(skimmed.chosen):
                rule.scores[number] = right
        for rule_ in _of_the_task(task):
            if (met := rules.get(rule_.name)) is not None and met.kind is not rule_.kind:
                continue  # a task's floor with the name of a common rule
            reply = rule_.answer(sample)
            keep(rule_.kind, rule_.name, value(reply.text), reply.read)
    return rules


@dataclass(frozen=True)
class _Evidence:
    """Evidence of one sample."""

    places: tuple[float, ...]
    phrases: frozenset[str]
    cluster: str


def _evidence(sample: Sample) -> _Evidence:
    """Evidence of a sample; empty where most of the text is evidence, which singles out nothing."""
    spans, size = sample.evidence, max(1, sample.context.chars)
    if not spans or sum(end - start for start, end in spans) > _SINGLED_OUT * size:
        return _Evidence((), frozenset(), sample.cluster)
    text = sample.context.text()
    places = tuple((start + end) / 2 / size for start, end in spans)
    return _Evidence(
        places,
        frozenset().union(*(phrases(text[start:end]) for start, end in spans)),
        sample.cluster,
    )


def _seen(found: Sequence[_Evidence], others: Sequence[int]) -> Seen:
    """Statistics of the evidence in other samples."""
    counted = Counter(phrase for i in others for phrase in found[i].phrases)
    return Seen(
        [place for i in others for place in found[i].places],
        {phrase: count for phrase, count in counted.items() if count > 1},
    )


def _of_the_task(task: Task) -> Iterator[Baseline]:
    """The task's own rules; where a floor and a baseline share a name, the baseline."""
    given = {rule.name: rule for rule in getattr(task, "baselines", tuple)()}
    for name, floor in task.floors().items():
        kind = Kind.BAG_OF_WORDS if name == "bag_of_words" else Kind.NO_MODEL
        given.setdefault(name, Baseline(name, kind, _replying(floor)))
    yield from given.values()


def _replying(floor: Callable[[Sample], str]) -> Callable[[Sample], Reply]:
    return lambda sample: Reply(floor(sample), 1.0)


def _folds(samples: Sequence[Sample]) -> NDArray[np.bool_]:
    """Two halves of whole clusters, in an order independent of the clusters' numbers."""
    names = [sample.cluster for sample in samples]
    if len(set(names)) < 2:
        names = [sample.id for sample in samples]
    order = sorted(set(names), key=text_hash)
    side = {name: place % 2 == 1 for place, name in enumerate(order)}
    return np.array([side[name] for name in names], dtype=bool)


def _filled(rule: _Rule, count: int, fallback: Values) -> Values:
    """The rule's scores; where it has no answer, the prior's."""
    return np.array([rule.scores.get(i, fallback[i]) for i in range(count)])


def _best(
    rules: dict[str, _Rule],
    count: int,
    folds: NDArray[np.bool_],
    groups: Sequence[NDArray[np.str_]],
    fallback: Values,
) -> _Best:
    """The best rule, or the best rule per kind of question, whichever scores higher."""
    names = list(rules)
    scores = np.array([_filled(rules[name], count, fallback) for name in names])
    reads = np.array([[rules[n].reads.get(i, 0.0) for i in range(count)] for n in names])
    halves = [np.ones(count, dtype=bool)] if count < FEW else [folds, ~folds]
    single = np.zeros(count, dtype=int)
    by_kind = [np.zeros(count, dtype=int) for _ in groups]
    for half in halves:
        known = half if len(halves) == 1 else ~half
        single[half] = _first(scores[:, known], reads[:, known])
        for picked, labels in zip(by_kind, groups, strict=True):
            picked[half] = single[half]
            for group in np.unique(labels):
                own = known & (labels == group)
                if own.sum() >= _OF_A_KIND:
                    picked[half & (labels == group)] = _first(scores[:, own], reads[:, own])
    at = np.arange(count)
    # Prefer the first of equals: one rule for all questions is simpler.
    picked = max([single, *by_kind], key=lambda numbers: round(scores[numbers, at].mean(), 9))
    if picked is single:
        name = names[_first(scores, reads)]
    else:
        common = Counter(names[i] for i in picked).most_common(3)
        name = f"by kind of question: {', '.join(name for name, _ in common)}"
    return _Best(name, scores[picked, at], reads[picked, at])


def _first(scores: Values, reads: Values) -> int:
    """Index of the rule with the highest mean; among equals, the one that reads least."""
    return int(np.argmax(scores.mean(axis=1) - 1e-6 * reads.mean(axis=1)))
