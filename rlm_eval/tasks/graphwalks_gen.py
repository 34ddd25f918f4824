"""Generated GraphWalks: a directed graph as a list of edges, and a set of nodes to find.

Follows OpenAI's GraphWalks (openai/graphwalks on the hub, MIT): breadth-first search from a node,
answered by the nodes at exactly that depth, and the parents of a node; scored by F1 over the set.
Graphs, node names and wording are our own, and no gold is empty. Ten lines of code solve the task
without reading (`solved_by_code`): it is the control for tasks that require reading.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from rlm_eval.core.types import Answer, Sample, Score
from rlm_eval.scoring.nodes import node_scores
from rlm_eval.tasks import Floor, haystack
from rlm_eval.tasks.base import Draft, GeneratedTask, rng
from rlm_eval.tasks.baselines import Baseline, Kind, Reply

OPERATIONS = ("bfs", "parents")
_NEW = 0.4  # share of the filler's edges from a new node: 2.5 edges per node on average
_QUESTIONS = {
    "bfs": (
        "The text lists the directed edges of a graph, one on each line. Start at node {node} and "
        "follow the edges in their direction, breadth first. Which nodes are at distance {depth} "
        "from the start: reached over {depth} edges, and over no fewer? Leave out the start and "
        "every node at another distance."
    ),
    "parents": (
        "The text lists the directed edges of a graph, one on each line. Which nodes are parents "
        "of node {node}: which have an edge that leads to it? Leave out the node itself."
    ),
}
_FORM = " End with one line of this form: Final Answer: [node, node, ...]"


@dataclass(frozen=True)
class GraphWalksGen(GeneratedTask):
    """See the module's docstring. `solved_by_code`: a parser and a loop find every node."""

    name: str = "graphwalks_gen"
    ask: str = "mix"
    """`bfs`, `parents`, or `mix` (alternating)."""
    depth: int = 2
    """Edges from the start to the queried nodes (`bfs`); 1 to 4."""

    solved_by_code: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.ask not in (*OPERATIONS, "mix"):
            raise ValueError(f"ask={self.ask!r}: {', '.join(OPERATIONS)} or mix")
        if not 1 <= self.depth <= 4:
            raise ValueError(f"depth={self.depth}: 1 to 4")

    def draft(self, index: int) -> Draft:
        """One sample; a longer one has more edges around the same answer."""
        kind = OPERATIONS[index % 2] if self.ask == "mix" else self.ask
        graph = _Graph(rng("graphwalks", self.seed, index), kind, self.depth)
        question = _QUESTIONS[kind].format(node=graph.node, depth=self.depth) + _FORM
        source = rng("graphwalks places", self.seed, index)
        needles = [(source.random(), f"{a} -> {b}") for a, b in graph.edges]

        def filler(budget: float) -> tuple[list[str], npt.NDArray[np.float64]]:
            other = _Other(rng("graphwalks filler", self.seed, index), graph)
            return haystack.lines(self.counter, other.edge, short=())(budget)

        text, tokens, spans = haystack.build(
            filler, needles, self.room(question), self.length, self.counter
        )
        found = _solve(text, kind, graph.node, self.depth)
        if sorted(found) != sorted(graph.golds):
            raise AssertionError(f"graph {self.seed}/{index}: the text gives {found}")
        item = f"graph-{kind}-{self.seed}-{index}"
        meta = {"ask": kind, "answers": len(graph.golds)}
        return Draft(question, text, graph.golds, item, item, tokens, tuple(sorted(spans)), meta)

    def score(self, sample: Sample, answer: Answer) -> tuple[Score, ...]:
        """F1 over the set of nodes; and 1 where the set is exactly right."""
        return node_scores(sample.target, answer.text)

    def gold_answer(self, sample: Sample) -> Answer:
        """The set in the form that the question requires."""
        return Answer(f"Final Answer: [{', '.join(sample.target)}]")

    def floors(self) -> Mapping[str, Floor]:
        """The program that solves it; the nodes one edge after the queried one."""
        return {"search": _search, "next_nodes": lambda sample: _search(sample, depth=1)}

    def baselines(self) -> Sequence[Baseline]:
        """The program on the whole text (solves it) and on its first quarter."""
        return (
            Baseline("graph_search", Kind.NO_MODEL, lambda sample: Reply(_search(sample), 1.0)),
            Baseline(
                "graph_search_first_25_percent",
                Kind.SKIMMER,
                lambda sample: Reply(_search(sample, share=0.25), 0.25),
            ),
        )


class _Graph:
    """The queried node, the edges that decide the answer, and the answer."""

    def __init__(self, source: random.Random, kind: str, depth: int) -> None:
        self.names: dict[str, None] = {}
        self.kind = kind
        self.node = new_name(source, self.names)
        self.inner = {self.node}
        """Nodes whose outgoing edges are all in `edges` (`bfs`)."""
        if kind == "parents":
            self.golds = [new_name(source, self.names) for _ in range(source.randrange(3, 9))]
            self.edges = [(parent, self.node) for parent in self.golds]
            self.others = list(self.golds)
            """Nodes of `edges` that may get further edges."""
            return
        self.edges = []
        level, known = [self.node], [self.node]
        for _ in range(depth):
            self.inner |= set(level)
            after: list[str] = []
            for node in level[:12]:  # bounds deeper searches: the other nodes get no edges
                fresh = [new_name(source, self.names) for _ in range(source.randrange(1, 4))]
                targets = list(fresh)
                # A node seen before is a trap: its distance differs from that of the new ones.
                targets.append(source.choice(known if source.random() < 0.6 else [*after, *fresh]))
                targets = [target for target in dict.fromkeys(targets) if target != node]
                self.edges += [(node, target) for target in targets]
                after += fresh
            known += after
            level = after
        self.golds = list(level)
        self.others = list(level)

    def allows(self, start: str, end: str) -> bool:
        """True where an additional edge leaves the answer unchanged."""
        if start == end:
            return False
        return end != self.node if self.kind == "parents" else start not in self.inner


class _Other:
    """The rest of the graph, edge by edge; a shorter list is a prefix of a longer one."""

    def __init__(self, source: random.Random, graph: _Graph) -> None:
        self.source, self.graph = source, graph
        self.names, self.seen = dict(graph.names), set(graph.edges)
        self.starts, self.ends = list(graph.others), list(graph.names)

    def edge(self, _: int) -> str:
        """Return the next edge, as a line."""
        while True:
            if self.source.random() < _NEW:
                self.starts.append(new_name(self.source, self.names))
                self.ends.append(self.starts[-1])
                start = self.starts[-1]
            else:
                start = self.source.choice(self.starts)
            end = self.source.choice(self.ends)
            if self.graph.allows(start, end) and (start, end) not in self.seen:
                self.seen.add((start, end))
                return f"{start} -> {end}"


def new_name(source: random.Random, names: dict[str, None]) -> str:
    """8 to 12 hexadecimal digits, unique among the nodes; added to `names`."""
    while True:
        digits = source.randrange(8, 13)
        name = f"{source.getrandbits(4 * digits):0{digits}x}"
        if name not in names:
            names[name] = None
            return name


def _solve(text: str, kind: str, node: str, depth: int) -> list[str]:
    """The answer from the text alone, in order of appearance (`parents`) or of search (`bfs`)."""
    edges = [line.split(" -> ") for line in text.splitlines()]
    if kind == "parents":
        return [a for a, b in edges if b == node]
    after: dict[str, list[str]] = {}
    for a, b in edges:
        after.setdefault(a, []).append(b)
    level, seen = [node], {node}
    for _ in range(depth):
        found = dict.fromkeys(b for a in level for b in after.get(a, ()) if b not in seen)
        level = list(found)
        seen |= set(level)
    return level


def _search(sample: Sample, share: float = 1.0, depth: int | None = None) -> str:
    text = sample.context.text()
    text = text[: text.rfind("\n", 0, int(len(text) * share)) + 1] if share < 1 else text
    node = re.findall(r"(?:at|of) node ([0-9a-f]+)", sample.question)[0]
    asked = re.search(r"at distance (\d+)", sample.question)
    kind = "bfs" if asked else "parents"
    found = _solve(text, kind, node, depth or (int(asked[1]) if asked else 1))
    return f"Final Answer: [{', '.join(found)}]"
