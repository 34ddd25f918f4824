"""The plan of a λ-RLM: fan-out, depth, leaf size and cost, fixed before the first leaf is read.

Follows algorithm 3 of arXiv:2603.20105. The paper gives three fan-outs that disagree (its
algorithm, its theorem 4 and its worked example), so the rule is a setting. Its theorem 1 counts k^d
+ 1 calls and omits filters and compositions; `Plan.bound` includes them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

RULES = ("fit", "root", "two")
SLACK = 0.95
"""Share of a level's room that the plan uses; the rest lets pieces end at a line."""
_REPLY = 200  # assumed tokens of a reply


@dataclass(frozen=True)
class Plan:
    """A tree of `depth` levels whose inner nodes have at most `k` children."""

    chars: int
    """Length of the text, characters."""
    k: int
    """Fan-out; 1 where one leaf reads everything."""
    depth: int
    """Levels of splitting; 0 where one leaf reads everything."""
    leaf: int
    """Maximum characters of a leaf: the paper's τ*."""

    def room(self, level: int) -> int:
        """Maximum characters of a node `level` levels below the root, whose level is 0.

        Each level has slightly more room than its share, which guarantees the depth by
        construction: `split` never has to make a piece that is too long for the next level.
        """
        if level == 0:
            return self.chars
        return math.ceil(self.leaf * (self.k * SLACK) ** (self.depth - level))

    @property
    def leaves(self) -> int:
        """Maximum number of leaf calls."""
        return int(self.k**self.depth)

    @property
    def inner(self) -> int:
        """Maximum number of inner nodes."""
        return sum(int(self.k**level) for level in range(self.depth))

    @property
    def claimed(self) -> int:
        """Calls by the paper's theorem 1: one per leaf and one to detect the kind."""
        return self.leaves + 1

    def bound(self, *, detects: bool, filters: bool, composes: bool, final: bool) -> int:
        """Maximum number of calls.

        One to detect the kind (`detects`), one per leaf, one per child of an inner node where a
        model `filters`, one per inner node where a model `composes`, one for a `final` answer.
        """
        children = sum(int(self.k**level) for level in range(1, self.depth + 1))
        return detects + self.leaves + filters * children + composes * self.inner + final

    def tokens(self, chars_per_token: float, *, composes: bool) -> int:
        """Expected tokens that the leaves and compositions read and write."""
        leaves = self.chars / chars_per_token + self.leaves * _REPLY
        return round(leaves + composes * self.inner * (self.k + 1) * _REPLY)


def make_plan(
    chars: int,
    window: int,
    *,
    rule: str = "fit",
    k_max: int = 20,
    compose_cost: float = 1.0,
    alpha: float = 0.80,
    a_leaf: float = 0.95,
    a_compose: float = 0.90,
    chars_per_token: float = 4.0,
) -> Plan:
    """Plan for a text of `chars` characters and leaves of at most `window` characters.

    `rule` sets the fan-out: `fit` the number of windows, `root` the square root of the tokens over
    `compose_cost` (cost of composing one reply, in input tokens), `two` 2. It is at most `k_max`,
    but grows towards `fit` while a_leaf^d * a_compose^d, the paper's expected accuracy at depth d,
    is below `alpha`.
    """
    if chars <= window:
        return Plan(chars, 1, 0, max(1, chars))
    fit = math.ceil(chars / (window * SLACK))
    wanted = {"fit": fit, "two": 2}.get(rule)
    if wanted is None:
        wanted = math.ceil(math.sqrt(chars / chars_per_token / compose_cost))
    # Above `k_max` the accuracy decides; below 3, a level with slack would hardly shrink.
    k = max(2, min(wanted, k_max))
    depth = _depth(chars, window, k)
    while (a_leaf * a_compose) ** depth < alpha and k < fit:
        k += 1
        depth = _depth(chars, window, k)
    return Plan(chars, k, depth, min(window, math.ceil(chars / (k * SLACK) ** depth)))


def _depth(chars: int, window: int, k: int) -> int:
    depth, room = 1, window * k * SLACK
    while room < chars:
        depth, room = depth + 1, room * k * SLACK
    return depth
