"""How many lines a small model labels rightly, by the wording of the question about one line.

    python benchmarks/recursion_claims/wordings.py [lines] [family ...]

Lines of `oolong_gen` families, drawn from a seed that no study uses, labels about equally often;
Qwen2.5-Coder-1.5B, temperature 0, one line a call. Prints a table line per family and wording.
"""

from __future__ import annotations

import asyncio
import sys
from collections import Counter

import rlm_eval as rl
from rlm_eval.core.types import Message
from rlm_eval.tasks.base import rng
from rlm_eval.tasks.oolong.grammar import family

_FITS = "\n\nWhich of these labels fits it best: {list}? Reply with the label only."
_FIRST = "Which of these labels fits this {noun} best: {list}? Reply with the label only.\n\n"
_IS = "\n\nIs this {either}? Reply with one word."
WORDINGS = {
    "noun, field, line; fits it": "{Noun}: Instance: {line}" + _FITS,
    "noun, line; fits it": "{Noun}: {line}" + _FITS,
    "field, line; fits it": "Instance: {line}" + _FITS,
    "line; fits it": "{line}" + _FITS,
    "fits this; field, line": _FIRST + "Instance: {line}",
    "fits this; line": _FIRST + "{line}",
    "field, line; is this": "Instance: {line}" + _IS,
    "line; is this": "{line}" + _IS,
    "quoted line; is this": '"{line}"' + _IS,
    "noun, line; is the": "{Noun}: {line}\n\nIs the {noun} {either}? Reply with one word.",
    "line; is what it says": "{line}\n\nIs what this says {either}? Reply with one word.",
    "line; fits what it says": "{line}\n\nWhich label fits what this says: {list}? Reply with the "
    "label only.",
    "completion": "Text: {line}\nLabels: {list}\nThe label of the text is:",
}
"""The first is what root models wrote under `rlm/read`, the fifth under `rlm/read_2`; the fourth is
that of the program `label_each`. `Instance:` names the field of the text in OOLONG's lines."""
NOUNS = {"claims": "Statement", "subject": "Message", "sentiment": "Remark", "formal": "Note"}


def lines(name: str, count: int) -> list[tuple[str, str]]:
    """(text, gold) of `count` lines of a family, labels drawn at random."""
    made, source = family(name), rng("recursion_claims", name)
    labels = [made.labels[i % len(made.labels)] for i in range(count)]
    source.shuffle(labels)
    writer = made.writer(rng("recursion_claims", name, "text"))
    return [(writer.make(label), label) for label in labels]


def asked(wording: str, name: str, line: str, turned: bool) -> str:
    """The prompt about one line of a family; windows name their labels in either order."""
    labels = family(name).labels[:: -1 if turned else 1]
    return wording.format(
        line=line,
        list=", ".join(labels),
        either=f"{', '.join(labels[:-1])} or {labels[-1]}",
        Noun=NOUNS[name],
        noun=NOUNS[name].lower(),
    )


async def main(count: int, names: list[str]) -> None:
    """See the module's docstring."""
    model = rl.model(
        "coder-1.5b",
        sampling={"temperature": 0, "max_output_tokens": 16},
        engine={"threads": 1, "slots": 1},
    )
    print("| family | wording | lines | right % | wrong most often |\n|---|---|---|---|---|")
    async with model.open() as client:
        for name in names:
            for title, wording in WORDINGS.items():
                found: Counter[tuple[str, str]] = Counter()
                for number, (line, gold) in enumerate(lines(name, count)):
                    message = Message("user", asked(wording, name, line, number % 2 == 1))
                    reply = await client.complete([message], model.sampling)
                    found[gold, reply.text.strip().strip(".*").lower()] += 1
                right = sum(n for (gold, said), n in found.items() if gold == said)
                wrong = Counter({pair: n for pair, n in found.items() if pair[0] != pair[1]})
                told = ", ".join(f"{a} as {b[:20]} {n}" for (a, b), n in wrong.most_common(2))
                share = 100 * right / count
                print(f"| {name} | {title} | {count} | {share:.1f} | {told} |", flush=True)


if __name__ == "__main__":
    given = sys.argv[1:]
    number = int(given[0]) if given else 80
    asyncio.run(main(number, given[1:] or ["claims", "subject"]))
