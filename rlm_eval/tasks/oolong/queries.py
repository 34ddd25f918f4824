"""The 20 queries of OOLONG-Pairs as conditions, as text, and as pairs of users.

Queries 1-10 ask for pairs of users who both meet one condition, 11-20 for pairs in which one user
meets each of two. "All instances ... must be after" is vacuously true for a user without such an
instance; under this reading the golds equal the published 32K file (arXiv:2512.24601, appendix E;
mit-oasys/oolong-pairs). Windows and scores are elsewhere.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import date

from rlm_eval.scoring.pairs import PairSet
from rlm_eval.tasks.dates import MONTHS
from rlm_eval.tasks.oolong.window import Row

QUERIES = 20
NAMES = {
    "D": "description and abstract concept",
    "E": "entity",
    "H": "human being",
    "N": "numeric value",
    "L": "location",
    "A": "abbreviation",
}
BOTH: dict[int, tuple[str, str, str, date | None]] = {
    1: ("NL", "", "", None),
    2: ("EH", "", "", None),
    3: ("DA", "", "", None),
    4: ("HL", "H", "after", date(2023, 1, 6)),
    5: ("EN", "E", "before", date(2023, 3, 15)),
    6: ("LA", "", "", None),
    7: ("DN", "N", "after", date(2023, 2, 1)),
    8: ("HD", "", "", None),
    9: ("EL", "L", "after", date(2023, 4, 10)),
    10: ("NA", "A", "before", date(2023, 5, 20)),
}
"""Both users have at least one instance of either label, and all instances of the next label are
after or before the day."""
ONE_EACH = {
    11: ("E1+ A1+", "E1"),
    12: ("N2+", "L1+ H1+"),
    13: ("D1", "A1+ E1+"),
    14: ("H1+ N1+", "L2"),
    15: ("E1+ L1+ A1+", "N1"),
    16: ("D1+ H1+", "E2+ A1"),
    17: ("N1", "L1+ D1+"),
    18: ("A1+ H1", "E1+ N1+"),
    19: ("L2+ E1+", "D1 A1"),
    20: ("N1+ H1+", "L1+ E1+ A1"),
}
"""The conditions on the two users: label and count, exact or (`+`) minimum."""
_WORDS = {1: "one instance", 2: "two instances"}


def query_text(query: int) -> str:
    """A query in the benchmark's wording."""
    if query in BOTH:
        labels, label, side, day = BOTH[query]
        first, second = (NAMES[letter] for letter in labels)
        what = f"where both users have at least one instance with a {first} or {second}"
        if day is not None:
            named = f"{MONTHS[day.month - 1]} {day.day}, {day.year}"
            article = "an" if NAMES[label][0] in "aeiou" else "a"
            what += (
                f", and all instances that are {article} {NAMES[label]} for both users must be "
                f"{side} {named}"
            )
    else:
        one, other = (_role_text(role) for role in ONE_EACH[query])
        what = f"such that one user has {one}, and the other user has {other}"
    return (
        "In the above data, list all pairs of user IDs (no duplicate pairs, list lower ID first) "
        f"{what}. Each of the questions can be labelled as one of the labels (the data does not "
        "provide the labels, you need to figure out the label from the semantics of the question): "
        f"{', '.join(NAMES.values())}. In your answer, list all pairs in the format "
        "(user_id_1, user_id_2), separated by newlines."
    )


def _role_text(role: str) -> str:
    parts = []
    for atom in role.split():
        size = "at least" if atom.endswith("+") else "exactly"
        parts.append(f"{size} {_WORDS[int(atom[1])]} with {NAMES[atom[0]]}")
    return " and ".join(parts)


def _plays(counts: Counter[str], role: str) -> bool:
    """True where a user's label counts meet every condition of the role."""
    for atom in role.split():
        count, wanted = counts[NAMES[atom[0]]], int(atom[1])
        if count < wanted or (count > wanted and not atom.endswith("+")):
            return False
    return True


def pairs_of(rows: Sequence[Row]) -> dict[int, PairSet]:
    """The pairs of every query over labelled lines."""
    counts: dict[int, Counter[str]] = {}
    spans: dict[tuple[int, str], tuple[int, int]] = {}
    for row in rows:
        counts.setdefault(row.user, Counter())[row.label] += 1
        first, last = spans.get((row.user, row.label), (row.day, row.day))
        spans[row.user, row.label] = min(first, row.day), max(last, row.day)

    def both(user: int, query: int) -> bool:
        labels, label, side, day = BOTH[query]
        if not any(counts[user][NAMES[letter]] for letter in labels):
            return False
        span = spans.get((user, NAMES[label])) if day is not None else None
        if span is None or day is None:
            return True  # no date condition, or no such instance: vacuously true
        return span[0] > day.toordinal() if side == "after" else span[1] < day.toordinal()

    found = {}
    for query in BOTH:
        users = frozenset(user for user in counts if both(user, query))
        found[query] = PairSet(users, users)
    for query, roles in ONE_EACH.items():
        one, other = (frozenset(u for u, c in counts.items() if _plays(c, r)) for r in roles)
        found[query] = PairSet(one, other)
    return found
