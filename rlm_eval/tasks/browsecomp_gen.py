"""BrowseComp-like questions over K documents of an invented world, generated.

The shape of BrowseComp-Plus (arXiv 2508.06600) as the RLM paper uses it: a list of K documents with
the evidence guaranteed inside. One fact stands in one document, in other words than the question's;
hard negatives miss one constraint each; smaller K are nested in larger ones, in the same order.
Answers are names, unique by brute force, so no judge is needed. Not the real data
(`browsecomp_plus`).
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from rlm_eval.scoring.match import normalized_contains, normalized_exact
from rlm_eval.tasks import Floor
from rlm_eval.tasks.base import CachedTask, Draft, data, rng
from rlm_eval.tasks.haystack import Prose, insert
from rlm_eval.tasks.world import (
    MOST_DOCUMENTS,
    Entity,
    Puzzle,
    base_entity,
    name_table,
    puzzle,
)
from rlm_eval.tokens import get_tokenizer
from rlm_eval.types import DOCUMENT_SEPARATOR, Answer, Density, Sample, Score, text_hash

QUESTIONS_PER_WORLD = 10
_WORDS_PER_SENTENCE = 14.3  # of the prose grammar, on average
_MENTION_EVERY = 14  # sentences of prose per sentence that only drops a name
_STRIDE = 4096  # sentence numbers set aside for one document


@dataclass(frozen=True)
class BrowseCompGen(CachedTask):
    """See the module's docstring. By default questions 0 to 9 share a world, and so on."""

    name: str = "browsecomp_gen"
    documents: int = 100
    """K."""
    doc_words_min: int = 2900
    """Words of the shortest document."""
    doc_words_max: int = 8100
    """Words of the longest. Drawn evenly: the mean is near that of BrowseComp-Plus."""
    hops: int | None = None
    """Entities on the path: 2, 3 or 4; `None` = in turn."""

    questions_per_world: int = QUESTIONS_PER_WORLD
    """Questions that share a world; they are one cluster."""

    VERSION: ClassVar[int] = 2
    CLUSTER_FIELD: ClassVar[str] = "questions_per_world"
    density: ClassVar[Density] = Density.CONSTANT

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 10 <= self.documents <= MOST_DOCUMENTS:
            raise ValueError(f"documents={self.documents}: 10 to {MOST_DOCUMENTS}")
        if self.hops not in (None, 2, 3, 4):
            raise ValueError(f"hops={self.hops}: 2, 3, 4 or null")
        if not 40 <= self.doc_words_min <= self.doc_words_max <= 40_000:
            raise ValueError("doc_words_min and doc_words_max: 40 or more, min <= max <= 40000")
        if not 1 <= self.questions_per_world <= QUESTIONS_PER_WORLD:
            raise ValueError(
                f"questions_per_world={self.questions_per_world}: 1 to {QUESTIONS_PER_WORLD}"
            )

    @property
    def per_cluster(self) -> int:
        """Samples of one world."""
        return self.questions_per_world

    def draft(self, index: int) -> Draft:
        """One question over its K documents."""
        seed = f"{self.seed}|{index // self.questions_per_world}"
        asked = puzzle(seed, index % self.questions_per_world, self.hops or 2 + index % 3)
        sizes = (self.doc_words_min, self.doc_words_max)
        own, evidence_facts = _own_documents(seed, asked, sizes)
        entities = [*asked.path, *asked.clones]
        chosen = dict(list(own.items())[: self.documents])
        number = 0
        while len(chosen) < self.documents:
            entity = base_entity(seed, number)
            number += 1
            if entity.agrees(asked.path[0]):  # a second answer by chance: not in this question
                continue
            entities.append(entity)
            for part in ("profile", "relation"):
                if len(chosen) < self.documents:
                    chosen[f"{entity.key}-{part}"] = _document(seed, entity, part, sizes, ())
        if asked.answers(entities) != [asked.answer]:
            raise AssertionError(f"{self.name} {seed} {index}: the answer is not unique")
        keys = sorted(chosen, key=lambda key: text_hash(f"{seed}|{index}|{key}"))
        starts, place = {}, 0
        for key in keys:
            starts[key] = place
            place += len(chosen[key]) + len(DOCUMENT_SEPARATOR)
        spans = []
        for key, fact in evidence_facts.items():
            start = starts[key] + chosen[key].index(fact)
            spans.append((start, start + len(fact)))
        positions = {key: i for i, key in enumerate(keys)}
        gold_key = list(evidence_facts)[-1]
        meta = {
            "documents": self.documents,
            "hops": len(asked.path) + 1,
            "evidence_docs": ",".join(str(positions[key]) for key in evidence_facts),
            "gold_docs": str(positions[gold_key]),
        }
        item = f"browsecomp-{seed}-{index}"
        context = tuple(chosen[key] for key in keys)
        return Draft(
            asked.question, context, [asked.answer], f"world-{seed}", item,
            evidence=tuple(sorted(spans)), meta=meta, length=self._nominal,
        )  # fmt: skip

    @property
    def _nominal(self) -> int:
        """Round tokens of K documents of mean size: the key of the cell."""
        return round(self.documents * (self.doc_words_min + self.doc_words_max) * 0.5625)

    def score(self, sample: Sample, answer: Answer) -> tuple[Score, ...]:
        """Equal after normalisation; and contained as whole words."""
        golds, text = list(sample.target), answer.text
        return normalized_exact(golds, text), normalized_contains(golds, text)

    def floors(self) -> Mapping[str, Floor]:
        """The title of the first document, or of one drawn at random."""
        return {"first_title": lambda s: _title(s, 0), "random_title": _random_title}


def _title(sample: Sample, place: int) -> str:
    return sample.context.value()[place].split("\n", 1)[0]


def _random_title(sample: Sample) -> str:
    return _title(sample, rng("title", sample.id).randrange(len(sample.context.value())))


def _own_documents(
    seed: str, asked: Puzzle, sizes: tuple[int, int]
) -> tuple[dict[str, str], dict[str, str]]:
    """The question's own documents, evidence first; and the evidence facts by document, gold last.

    The first hard negatives also drop the answer's name and the question's words, so that neither
    a search for a rare word nor one for the answer's shape singles the evidence out.
    """
    documents, facts = {}, {}
    for entity in asked.path:
        for part in ("profile", "relation"):
            key = f"{entity.key}-{part}"
            documents[key] = _document(seed, entity, part, sizes, ())
            facts[key] = _fact(entity, part)
    mentions = data("world.json")["mentions"]
    words = asked.content_words
    spoken = f"There was talk of {', '.join(words[:-1])} and {words[-1]}."
    number = 0
    for part in ("profile", "relation"):
        for clone in asked.clones:
            extra = [mentions[number % 10].format(name=asked.answer)] if number < 4 else []
            extra += [spoken] if number < 2 else []
            key = f"{clone.key}-{part}"
            documents[key] = _document(seed, clone, part, sizes, tuple(extra))
            number += 1
    return documents, facts


def _fact(entity: Entity, part: str) -> str:
    template: str = data("world.json")[part][entity.kind]
    return template.format(
        name=entity.name, other=entity.other, year=entity.year, **entity.words(asked=False)
    )


@functools.lru_cache(maxsize=2048)
def _document(
    seed: str, entity: Entity, part: str, sizes: tuple[int, int], extra: tuple[str, ...]
) -> str:
    """A title, prose that occurs in no other document, dropped names, and the one fact."""
    number = entity.key * 2 + (part == "relation")
    source, names = rng("document", seed, number), name_table(seed)
    fact = _fact(entity, part)
    target = source.randint(*sizes)
    count = max(2, round(target / _WORDS_PER_SENTENCE))
    mentions = data("world.json")["mentions"]
    dropped = [
        source.choice(mentions).format(
            name=names[source.choice(tuple(names))][source.randrange(40)]
        )
        for _ in range(count // _MENTION_EVERY)
    ]
    # Lengths are measured on the whole context, so the prose needs no costs: the cheapest counter.
    prose = Prose(get_tokenizer("approx4"), seed, decoys=False)
    units, _ = prose.take(number * _STRIDE, count - len(dropped) + 4)
    said_words = sum(len(text.split()) for text in (entity.name, fact, *dropped, *extra))
    total = said_words + sum(len(unit.split()) for unit in units)
    while len(units) > 1 and total > target and total - len(units[-1].split()) >= sizes[0]:
        total -= len(units.pop().split())
    sentences = [(source.random(), text) for text in (fact, *dropped, *extra)]
    return f"{entity.name}\n{insert(units, sentences).rstrip()}"
