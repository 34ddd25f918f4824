"""Generated BrowseComp-like questions over K documents of an invented world.

The shape of BrowseComp-Plus (arXiv 2508.06600) as the RLM paper uses it: a list of K documents that
is guaranteed to contain the evidence. The facts of one entity are in different documents, in other
words than the question's, among many facts of the same form about other entities; each sentence
states about one name what it denies about the names next to it; hard negatives miss one constraint
each; smaller K are nested in larger ones, in the same order. Answers are names, unique by brute
force, so no judge is needed. `baselines()` gives the scores of rules without a model. The real data
are in `browsecomp_plus`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from rlm_eval.core.types import DOCUMENT_SEPARATOR, Answer, Density, Sample, Score, text_hash
from rlm_eval.scoring.match import normalized_contains, normalized_exact
from rlm_eval.tasks import Floor
from rlm_eval.tasks.base import CachedTask, Draft, rng
from rlm_eval.tasks.baselines import Baseline
from rlm_eval.tasks.browsecomp.chronicle import (
    PARTS,
    Fact,
    chronicle,
    documents_of_a_community,
    size_of_a_community,
)
from rlm_eval.tasks.browsecomp.community import (
    KINDS,
    Entity,
    Puzzle,
    Size,
    community,
    kind_of,
    puzzle,
)
from rlm_eval.tasks.browsecomp.rules import browsecomp_baselines

QUESTIONS_PER_WORLD = 10


@dataclass(frozen=True)
class BrowseCompGen(CachedTask):
    """See the module's docstring. By default questions 0 to 9 share a world, and so on."""

    name: str = "browsecomp_gen"
    documents: int = 100
    """Number of documents, K."""
    doc_words_min: int = 2900
    """Minimum words per document."""
    doc_words_max: int = 8100
    """Maximum words per document. Uniform draws: the mean is near that of BrowseComp-Plus."""
    hops: int | None = None
    """Entities on the path: 2, 3 or 4; `None` = alternating."""

    questions_per_world: int = QUESTIONS_PER_WORLD
    """Questions that share a world; they form one cluster."""

    # 3: a list of turns and of cousins found .2 of the answers; with a list of denials, half of
    # them
    VERSION: ClassVar[int] = 5
    CLUSTER_FIELD: ClassVar[str] = "questions_per_world"
    density: ClassVar[Density] = Density.CONSTANT

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.hops not in (None, 2, 3, 4):
            raise ValueError(f"hops={self.hops}: 2, 3, 4 or null")
        if not 40 <= self.doc_words_min <= self.doc_words_max <= 40_000:
            raise ValueError("doc_words_min and doc_words_max: 40 or more, min <= max <= 40000")
        each = documents_of_a_community(self._words)
        sizes = {kind: size_of_a_community(self._words, kind) for kind in KINDS}
        most = min(size.most_communities(kind) for kind, size in sizes.items()) * each
        if not each <= self.documents <= most:
            raise ValueError(
                f"documents={self.documents}: {each} to {most} where they have "
                f"{self.doc_words_min} to {self.doc_words_max} words; shorter documents hold fewer "
                "of the facts, so that it takes more of them; beyond the most, names run out"
            )
        if not 1 <= self.questions_per_world <= QUESTIONS_PER_WORLD:
            raise ValueError(
                f"questions_per_world={self.questions_per_world}: 1 to {QUESTIONS_PER_WORLD}"
            )

    @property
    def per_cluster(self) -> int:
        """Samples of one world; fewer where `hops` allows one question per description."""
        if self.hops is None:
            return self.questions_per_world
        sizes = (size_of_a_community(self._words, kind) for kind in KINDS)
        return min(self.questions_per_world, *(size.described for size in sizes))

    def draft(self, index: int) -> Draft:
        """One question over its K documents."""
        world, number = divmod(index, self.per_cluster)
        seed = f"{self.seed}|{world}"
        words = self._words
        size = self.size(seed)
        each = documents_of_a_community(words)
        hops = self.hops or 2 + (index + number // size.described) % 3
        asked = puzzle(seed, number, hops, size)
        entities: list[Entity] = []
        texts: dict[str, str] = {}
        for i in range(-(-self.documents // each)):
            written = chronicle(seed, i, words)
            entities += community(seed, i, size)
            texts |= {f"{i}-{j}": text for j, text in enumerate(written.documents)}
        if asked.answers(entities) != [asked.answer]:
            raise AssertionError(f"{self.name} {seed} {number}: the answer is not unique")
        kept = list(texts)[: self.documents]
        # The order of documents does not depend on their number: smaller sets are nested.
        keys = sorted(kept, key=lambda key: text_hash(f"{seed}|{index}|{key}"))
        starts, place = {}, 0
        for key in keys:
            starts[key] = place
            place += len(texts[key]) + len(DOCUMENT_SEPARATOR)
        stated = chronicle(seed, 0, words).spans
        spans, evidence_docs = [], []
        for document, start, end in (stated[fact] for fact in _facts(asked, entities)):
            key = f"0-{document}"
            spans.append((starts[key] + start, starts[key] + end))
            evidence_docs.append(str(keys.index(key)))
        meta = {
            "documents": self.documents,
            "hops": len(asked.path) + 1,
            "evidence_docs": ",".join(dict.fromkeys(evidence_docs)),
            "gold_docs": evidence_docs[-1],
        }
        item = f"browsecomp-{seed}-{index}"
        context = tuple(texts[key] for key in keys)
        return Draft(
            asked.question, context, [asked.answer], f"world-{seed}", item,
            evidence=tuple(sorted(spans)), meta=meta, length=self._nominal,
        )  # fmt: skip

    def size(self, seed: str) -> Size:
        """Size of the communities in the world of a seed."""
        return size_of_a_community(self._words, kind_of(seed))

    @property
    def _words(self) -> tuple[int, int]:
        return self.doc_words_min, self.doc_words_max

    @property
    def _nominal(self) -> int:
        """Rounded tokens of K documents of mean size: the nominal length of the cell."""
        return round(self.documents * (self.doc_words_min + self.doc_words_max) * 0.5625)

    def score(self, sample: Sample, answer: Answer) -> tuple[Score, ...]:
        """1 where equal after normalisation; and where contained as whole words."""
        golds, text = list(sample.target), answer.text
        return normalized_exact(golds, text), normalized_contains(golds, text)

    def floors(self) -> Mapping[str, Floor]:
        """The title of the first document, or of a random one."""
        return {"first_title": lambda s: _title(s, 0), "random_title": _random_title}

    def baselines(self) -> Sequence[Baseline]:
        """Rules over the counts, places and links of names; skimmers by words and shapes."""
        return browsecomp_baselines()


def _facts(asked: Puzzle, entities: Sequence[Entity]) -> list[Fact]:
    """The facts needed: both traits and the masters, some of them through another entity."""
    by_name = {entity.name: entity for entity in entities}
    found = [(asked.path[0].name, part) for part in PARTS[:2]]
    for entity in asked.path:
        found.append((entity.name, PARTS[2]))
        if entity.like:
            found.append((by_name[entity.like].name, PARTS[2]))
    return found


def _title(sample: Sample, place: int) -> str:
    return sample.context.value()[place].split("\n", 1)[0]


def _random_title(sample: Sample) -> str:
    return _title(sample, rng("title", sample.id).randrange(len(sample.context.value())))
