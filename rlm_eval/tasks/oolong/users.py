"""Users of a window of labelled lines: who writes the next line.

A few common users write often, every other line has a user of its own, as in OOLONG-synth
(abertsch72/oolong; arXiv:2511.02817). There a user's labels are independent of the user. With
`Mix.profiles` a common user writes only on the labels of one profile, so that the number of a
user's lines does not tell which labels they have. Lines and labels are elsewhere.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from typing import NamedTuple

from rlm_eval.tasks.base import rng

ACTIVE = 4
"""Initial number of common users; the pool grows by one user every few lines."""
NEWEST = 24
"""Common users with a profile that are drawn from: the newest."""
_MISSING = 12
"""Weight of a user who still lacks lines of a label, against one who has enough."""
_IDS = 90_000

Profile = tuple[tuple[str, int, float], ...]
"""Labels of a common user: (label, lines that complete the profile, maximum number of lines)."""


class Mix(NamedTuple):
    """Distribution of a window's lines over users."""

    common: float = 0.8
    """Share of the lines from common users; every other line has its own user."""
    lines: int = 10
    """Lines after which the pool of common users grows by one."""
    profiles: tuple[Profile, ...] = ()
    """Profiles of the common users, each used once, in random order, before any is used again; with
    none, a user's labels are independent of the user."""


OOLONG_USERS = Mix()


class _Ids:
    """The ids 10,000 to 99,999 in a random order, without a list of them."""

    def __init__(self, source: random.Random) -> None:
        self.start, self.step = source.randrange(_IDS), 0
        while math.gcd(self.step, _IDS) != 1:
            self.step = source.randrange(_IDS // 4, _IDS)

    def __getitem__(self, place: int) -> int:
        return 10_000 + (self.start + place * self.step) % _IDS


class Users:
    """Draws the users of one window, line by line in arrival order."""

    def __init__(self, key: str, mix: Mix) -> None:
        self._key, self._mix = key, mix
        self._source = rng(key, "users")
        self._ids = _Ids(self._source)
        self._profiles: list[dict[str, tuple[int, float]]] = []
        self._written: list[Counter[str]] = []

    def of_line(self, place: int, label: str) -> int:
        """The user of line `place`, which has that label."""
        half, random_ = _IDS // 2, self._source.random
        if random_() < self._mix.common:
            newest = place // self._mix.lines
            common = self._with_profile(newest, label) if self._mix.profiles else self._any(newest)
            if common is not None:
                return self._ids[common % half]
        return self._ids[half + int(random_() * half)]

    def _any(self, newest: int) -> int:
        oldest = max(0, newest - ACTIVE + 1)
        return oldest + int(self._source.random() * max(ACTIVE, newest - oldest + 1))

    def _with_profile(self, newest: int, label: str) -> int | None:
        """A common user whose profile has room for a line of that label; `None` without one."""
        end = max(len(self._mix.profiles), newest + 1)  # all profiles occur from the start
        while len(self._profiles) < end:
            self._add_profiles()
        fitting, weights = [], []
        for user in range(max(0, end - NEWEST), end):
            enough, most = self._profiles[user].get(label, (0, 0.0))
            written = self._written[user][label]
            if written < most:
                fitting.append(user)
                weights.append(_MISSING if written < enough else 1)
        if not fitting:
            return None
        [user] = self._source.choices(fitting, weights)
        self._written[user][label] += 1
        return user

    def _add_profiles(self) -> None:
        """Give the next common users one profile each."""
        profiles = list(self._mix.profiles)
        rng(self._key, "profiles", len(self._profiles)).shuffle(profiles)
        for profile in profiles:
            self._profiles.append({label: (enough, most) for label, enough, most in profile})
            self._written.append(Counter())
