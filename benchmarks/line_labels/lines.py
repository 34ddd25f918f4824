"""The lines of `oolong_gen` that were labelled blind, 40 of each family, and their agreement.

python benchmarks/line_labels/lines.py print FAMILY [SEED]   lines without labels, in an order
python benchmarks/line_labels/lines.py agree                 labels of both passes against golds
"""

from __future__ import annotations

import sys
from pathlib import Path

from rlm_eval.tasks.base import rng
from rlm_eval.tasks.oolong.grammar import FAMILIES, family

HERE = Path(__file__).parent
LINES, LEAST = 40, 38


def lines(name: str) -> list[tuple[str, str]]:
    """The 40 lines of a family as (text, gold): labels drawn at random, each about as often."""
    made, source = family(name), rng("line labels", name)
    labels = [made.labels[i % len(made.labels)] for i in range(LINES)]
    source.shuffle(labels)
    writer = made.writer(rng("line labels", name, "text"))
    return [(writer.make(label), label) for label in labels]


def order(name: str, seed: int) -> list[int]:
    """The numbers of the lines in the order in which pass `seed` reads them."""
    numbers = list(range(LINES))
    rng("line labels", name, "order", seed).shuffle(numbers)
    return numbers


def labels_of(name: str, seed: int) -> dict[int, str]:
    """Number of a line -> the label that pass `seed` gave it, from its file."""
    path = HERE / f"{name}_pass_{seed}.txt"
    rows = [line.split(" ", 1) for line in path.read_text("utf-8").splitlines()]
    return {int(number): label.strip() for number, label in rows}


def agreement(name: str) -> list[int]:
    """Lines of the family on which each of the two passes agrees with the gold."""
    golds = [label for _, label in lines(name)]
    return [sum(golds[i] == got for i, got in labels_of(name, s).items()) for s in (1, 2)]


def main(given: list[str]) -> None:
    """See the module's docstring."""
    if given and given[0] == "print":
        name, seed = given[1], int(given[2]) if len(given) > 2 else 1
        made = lines(name)
        print(family(name).described(LINES, family(name).labels))
        for number in order(name, seed):
            print(number, made[number][0])
    else:
        for name in FAMILIES:
            one, other = agreement(name)
            print(f"{name}: pass 1 agrees on {one} of {LINES}, pass 2 on {other}")


if __name__ == "__main__":
    main(sys.argv[1:])
