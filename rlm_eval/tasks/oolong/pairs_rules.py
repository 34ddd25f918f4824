"""Rules that answer OOLONG-Pairs without a model, and readers of a quarter of the lines.

The rules look at the numbers and dates of each user's lines, never at a label: listing everybody,
pairs with a frequent user, and the pairs that maximise the expected F1 if every line had any of the
six labels with equal probability, independent of the user. The readers read lines perfectly and
list the pairs among what they read. Conditions are in `queries`, the score in
`rlm_eval.scoring.pairs`.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from rlm_eval.core.types import Sample
from rlm_eval.scoring.pairs import PairSet
from rlm_eval.tasks.base import rng
from rlm_eval.tasks.baselines import Baseline, Kind, Reply
from rlm_eval.tasks.oolong.baselines import SHARES
from rlm_eval.tasks.oolong.queries import BOTH, NAMES, ONE_EACH, pairs_of
from rlm_eval.tasks.oolong.window import Row, parse, render_line

FREQUENT = 3
"""Lines of a frequent user: a condition on three labels needs as many."""
_LABELS = len(NAMES)

Labelled = Callable[[Sample], Sequence[Row]]
"""Gives the rows of a sample's window with their labels, in order."""
Type = tuple[int, int]
"""Lines of a user, and those inside the query's dates (all of them if it names none)."""


def pairs_baselines(labelled: Labelled) -> list[Baseline]:
    """All rules and readers of this module, and the empty answer as the prior."""
    found = [
        Baseline("empty", Kind.PRIOR, lambda _: Reply("[]", 0.0)),
        Baseline("all_pairs", Kind.NO_MODEL, lambda s: Reply(all_pairs(s), 1.0)),
        Baseline("frequent_users", Kind.NO_MODEL, lambda s: Reply(_frequent(s), 1.0)),
        Baseline("likely_by_lines", Kind.NO_MODEL, lambda s: Reply(_likely(s), 1.0)),
    ]
    for percent in SHARES:
        name = f"first_{percent}_percent"
        found.append(_reader(name, labelled, lambda rows, _: rows, percent))
    found.append(_reader("a_line_of_each_user", labelled, _one_each))
    found.append(_reader("frequent_users_first", labelled, functools.partial(_by_lines, sign=-1)))
    found.append(_reader("rare_users_first", labelled, functools.partial(_by_lines, sign=1)))
    return found


def by_labels(label: Callable[[str], str | None]) -> Callable[[Sample], Reply]:
    """A rule that labels every line from its text and lists the pairs; unlabelled lines are out."""

    def answer(sample: Sample) -> Reply:
        rows = parse(sample.context.text())
        told = [row._replace(label=found) for row in rows if (found := label(row.text))]
        return Reply(listed(pairs_of(told)[int(sample.meta["query"])].pairs()), 1.0)

    return answer


def listed(pairs: Iterable[tuple[int, int]]) -> str:
    """The pairs as an answer, one per line."""
    return "\n".join(f"({u}, {v})" for u, v in pairs) or "[]"


def all_pairs(sample: Sample) -> str:
    """All pairs of users in the context."""
    return listed(itertools.combinations(sorted({r.user for r in parse(sample.context.text())}), 2))


def _frequent(sample: Sample) -> str:
    """The pairs in which at least one user has `FREQUENT` lines."""
    lines = Counter(row.user for row in parse(sample.context.text()))
    frequent = frozenset(user for user, count in lines.items() if count >= FREQUENT)
    return listed(PairSet(frequent, frozenset(lines)).pairs())


def _likely(sample: Sample) -> str:
    """The pairs that maximise the expected F1, from the numbers and dates of the lines."""
    query = int(sample.meta["query"])
    types: dict[Type, list[int]] = {}
    for user, kind in _types(parse(sample.context.text()), query).items():
        types.setdefault(kind, []).append(user)
    groups = []
    for (one, first), (other, second) in itertools.combinations_with_replacement(types.items(), 2):
        same = one == other
        size = math.comb(len(first), 2) if same else len(first) * len(second)
        if size:
            groups.append((_of_pair(query, one, other), size, first, () if same else second))
    groups.sort(key=lambda group: -group[0])
    expected = sum(chance * size for chance, size, *_ in groups)
    best, taken, hits, given = 0.0, 0, 0.0, 0
    for number, (chance, size, *_) in enumerate(groups, 1):
        hits, given = hits + chance * size, given + size
        if (f1 := 2 * hits / (given + expected)) > best:
            best, taken = f1, number
    return listed(sorted(_members(groups[:taken])))


def _members(
    groups: Iterable[tuple[float, int, Sequence[int], Sequence[int]]],
) -> Iterator[tuple[int, int]]:
    for _, _, first, second in groups:
        found = itertools.product(first, second) if second else itertools.combinations(first, 2)
        yield from ((min(pair), max(pair)) for pair in found)


def _types(rows: Sequence[Row], query: int) -> Mapping[int, Type]:
    lines, inside = Counter[int](), Counter[int]()
    day, after = (BOTH[query][3], BOTH[query][2] == "after") if query in BOTH else (None, False)
    for row in rows:
        lines[row.user] += 1
        if day is None or (row.day > day.toordinal() if after else row.day < day.toordinal()):
            inside[row.user] += 1
    return {user: (count, inside[user]) for user, count in lines.items()}


def _of_pair(query: int, one: Type, other: Type) -> float:
    """Probability that two users of these types form a pair."""
    if query in BOTH:
        return _meets(one) * _meets(other)
    roles = ONE_EACH[query]
    (a, b), (c, d) = ([_plays(kind[0], role) for role in roles] for kind in (one, other))
    return a * d + b * c - a * b * c * d


def _meets(kind: Type) -> float:
    """Probability of at least one of two labels with no line of the dated one outside its dates."""
    lines, inside = kind
    return ((_LABELS - 1) / _LABELS) ** (lines - inside) - ((_LABELS - 2) / _LABELS) ** lines


@functools.lru_cache(maxsize=4096)
def _plays(lines: int, role: str) -> float:
    """Probability that a user with that many lines meets every condition of a role."""
    return _meet_all(lines, tuple(role.split()), _LABELS)


def _meet_all(lines: int, atoms: tuple[str, ...], labels: int) -> float:
    if not atoms:
        return 1.0
    atom, *rest = atoms
    wanted, others = int(atom[1]), tuple(rest)

    def exactly(count: int) -> float:
        """Probability of `count` lines of the label and of the other conditions in the rest."""
        if count > lines:
            return 0.0
        ways: float = math.comb(lines, count) * (labels - 1) ** (lines - count) / labels**lines
        return ways * _meet_all(lines - count, others, labels - 1)

    if not atom.endswith("+"):
        return exactly(wanted)
    return _meet_all(lines, others, labels) - sum(map(exactly, range(wanted)))


def _reader(
    name: str,
    labelled: Labelled,
    order: Callable[[Sequence[Row], Sample], Sequence[Row]],
    percent: int = SHARES[-1],
) -> Baseline:
    """A skimmer: reads the first lines of that order and lists the pairs among them."""

    def answer(sample: Sample) -> Reply:
        rows = labelled(sample)
        read = order(rows, sample)[: max(1, len(rows) * percent // 100)]
        share = sum(len(render_line(row)) + 1 for row in read) / max(1, sample.context.chars)
        return Reply(listed(pairs_of(read)[int(sample.meta["query"])].pairs()), min(1.0, share))

    return Baseline(name, Kind.SKIMMER, answer)


def _one_each(rows: Sequence[Row], sample: Sample) -> list[Row]:
    """One line of each user, in random order."""
    first = list({row.user: row for row in reversed(rows)}.values())
    rng("a line of each user", sample.cluster).shuffle(first)
    return first


def _by_lines(rows: Sequence[Row], _: Sample, sign: int) -> list[Row]:
    """All lines of the users with the most lines (`sign` -1) or the fewest (1) first."""
    lines = Counter(row.user for row in rows)
    return sorted(rows, key=lambda row: (sign * lines[row.user], row.user))
