"""BrowseComp-Plus: questions over K documents of its corpus, judged by a model.

Data `Tevatron/browsecomp-plus` and its corpus (arXiv 2508.06600; texttron/BrowseComp-Plus @97c637c)
at pinned revisions, or local files with the same columns. Questions, golds and evidence are
decrypted in memory only; the task is `protected`, and the cache holds only sizes, positions and
hashes of contexts. The paper does not publish which 150 queries and which filler documents it used:
`seed` and `fill` are reported with every number. Search over the whole corpus is not implemented.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import orjson

from rlm_eval.core.code_hash import cache_key as class_hash  # the hash covers this name
from rlm_eval.core.errors import ConfigError
from rlm_eval.core.paths import cache_dir, write_atomic
from rlm_eval.core.types import (
    DOCUMENT_SEPARATOR,
    Answer,
    Context,
    Density,
    Sample,
    Score,
    canonical_text,
    text_hash,
)
from rlm_eval.scoring.browsecomp import decrypt, strict_verdict
from rlm_eval.scoring.match import normalized_contains, normalized_exact
from rlm_eval.tasks import Floor
from rlm_eval.tasks.base import Draft, distinct, make_sample, rng
from rlm_eval.tasks.hub import LoadedTask
from rlm_eval.tasks.hub_rows import HubRows, hub_or_file

QUERIES, CORPUS = "Tevatron/browsecomp-plus", "Tevatron/browsecomp-plus-corpus"
FILLS = ("random", "negatives+random")
_FORMAT = (
    "Answer in three lines:\nExplanation: why, in a sentence or two\n"
    "Exact Answer: the answer alone\nConfidence: how sure you are, 0% to 100%"
)
_JUDGE = """You grade an answer against a reference.

Question: {question}

Reference answer: {gold}

Answer to grade: {answer}

Decide whether the final answer given means the same as the reference. Other wording, more detail \
and small differences of a number's rounding are fine; a different, missing or hedged final answer \
is not. Do not solve the question yourself and do not argue about the reference.
Reply with one JSON object and nothing else: {{"extracted_final_answer": "...", "correct": true}} \
or {{"extracted_final_answer": "...", "correct": false}}"""


@dataclass(frozen=True)
class BrowseCompPlus(LoadedTask):
    """See the module's docstring."""

    name: str = "browsecomp_plus"
    n: int = 150
    """Queries, drawn with `seed` from 830."""
    seed: int = 0
    """Seed of the draw of queries; a query's filler depends only on the query."""
    documents: int = 1000
    """Number of documents, K. Where a query has more evidence than K, all of it is included."""
    fill: str = "random"
    """`random`: evidence and gold, then corpus documents; `negatives+random`: the query's own hard
    negatives precede the corpus documents."""
    canary_env: str = "BROWSECOMP_PLUS_CANARY"
    """Environment variable that holds the canary string, the password of the encrypted columns."""
    revision: str = "144cff8"
    """Revision of the queries; the default is 144cff8e35b5eaef7e526346aa60774a9deb941f."""
    corpus_revision: str = "b27b02b"
    """Revision of the corpus; the default is b27b02bc3e45511b8b82a13e6f90ce761df726f6."""
    corpus_path: str | None = None
    """Local file with the corpus columns; `None` = the hub."""

    # 1: a draw of 21 to 85 queries was not a prefix of a larger one
    VERSION: ClassVar[int] = 2
    density: ClassVar[Density] = Density.CONSTANT
    protected: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.fill not in FILLS or self.documents < 1:
            raise ValueError(f"fill: {' or '.join(FILLS)}; documents: 1 or more")

    @property
    def _canary(self) -> str:
        canary = os.environ.get(self.canary_env)
        if not canary:
            raise ConfigError(
                f"BrowseComp-Plus is encrypted: set ${self.canary_env} to the canary string that "
                "stands in scripts_build_index/decrypt_dataset.py of texttron/BrowseComp-Plus"
            )
        return canary

    def drafts(self) -> Iterator[Draft]:
        """Not used: a draft would contain plain text. See `samples`."""
        raise NotImplementedError

    def samples(self) -> Iterator[Sample]:
        """Yield the queries, each with its K documents; only encrypted rows stay in memory."""
        return distinct(self._protected_samples())

    @property
    def _ids(self) -> HubRows:
        return HubRows(QUERIES, self.revision, "test", columns=("query_id",))

    @property
    def _corpus(self) -> HubRows:
        return HubRows(
            CORPUS, self.corpus_revision, "train", field="task.corpus_path", as_files=True
        )

    def sources(self) -> Sequence[HubRows]:
        """See `LoadedTask`."""
        found = [self._ids] if self.path is None else []
        return found + ([self._corpus] if self.corpus_path is None else [])

    def fetch(self) -> None:
        """See `LoadedTask`. Also caches the rows of the queries, encrypted."""
        super().fetch()
        self._chosen()

    def _chosen(self) -> dict[str, dict[str, Any]]:
        """The encrypted rows of the drawn queries by id, in draw order."""
        ids = sorted(str(row["query_id"]) for row in hub_or_file(self.path, self._ids))
        # Shuffle all ids first: `sample(ids, n)` is not a prefix of a larger draw.
        chosen = rng("browsecomp_plus", self.seed).sample(ids, len(ids))[: self.n]
        columns: tuple[str, ...] = ("query_id", "query", "answer", "gold_docs", "evidence_docs")
        if self.fill != "random":
            columns = (*columns, "negative_docs")
        where = (("query_id", "in", tuple(chosen)),)
        wanted = HubRows(QUERIES, self.revision, "test", columns=columns, where=where)
        rows = {str(row["query_id"]): row for row in hub_or_file(self.path, wanted)}
        return {query_id: rows[query_id] for query_id in chosen}

    def _protected_samples(self) -> Iterator[Sample]:
        canary = self._canary
        chosen = self._chosen()
        local = None if self.corpus_path is not None else self._corpus.local()
        corpus = _Corpus.open(self.corpus_path, local)
        kept = _Measured.kept(self)
        for index, (query_id, row) in enumerate(chosen.items()):
            documents = _Documents(row, corpus, self.documents, self.fill, canary)
            with self.reading(f"query {query_id}, decrypted by ${self.canary_env}"):
                sample = self._sample(index, query_id, documents, kept)
            yield sample
        kept.write()

    def _sample(self, index: int, query_id: str, documents: _Documents, kept: _Measured) -> Sample:
        row, canary = documents.row, documents.canary
        ids = documents.ids()
        evidence = {str(d["docid"]) for d in _plain(row["evidence_docs"], canary)}
        gold = {str(d["docid"]) for d in _plain(row["gold_docs"], canary)}
        if query_id not in kept.found:
            texts = documents()
            text = canonical_text(texts)
            spans, place = [], 0
            for docid, document in zip(ids, texts, strict=True):
                if docid in evidence or docid in gold:
                    spans.append((place, place + len(document)))
                place += len(document) + len(DOCUMENT_SEPARATOR)
            measured = text_hash(text), len(text), self.counter.count(text)
            kept.found[query_id] = (*measured, spans)
        hashed, chars, tokens, spans = kept.found[query_id]
        context = Context(hashed, chars, tokens, self.counter.name, documents)
        draft = Draft(
            question=f"{decrypt(row['query'], canary)}\n\n{_FORMAT}",
            context="",
            target=[decrypt(row["answer"], canary)],
            cluster=query_id,
            item=query_id,
            evidence=tuple((start, end) for start, end in spans),
            meta={
                "query_id": query_id,
                "documents": len(ids),
                "fill": self.fill,
                "evidence_docs": ",".join(str(i) for i, d in enumerate(ids) if d in evidence),
                "gold_docs": ",".join(str(i) for i, d in enumerate(ids) if d in gold),
            },
            length=self.documents * 7500,  # the corpus' mean document, rounded: keys the cell
        )
        return make_sample(self.name, index, 0, draft, context, None)

    def score(self, sample: Sample, answer: Answer) -> tuple[Score, ...]:
        """Lower bounds that need no judge; the headline is the judge's score."""
        golds = list(sample.target)
        return normalized_exact(golds, answer.text), normalized_contains(golds, answer.text)

    def judge_prompt(self, sample: Sample, answer: Answer) -> str | None:
        """The question, the reference and the answer; `None` without an answer."""
        if not (answer.text or "").strip():
            return None
        question = sample.question.removesuffix(f"\n\n{_FORMAT}")
        return _JUDGE.format(question=question, gold=sample.target[0], answer=answer.text)

    def judge_score(self, sample: Sample, answer: Answer, verdict: str) -> Score:  # noqa: ARG002
        """Parse the reply. Raises `ValueError` where it has no clear verdict."""
        # Version 1 stripped fewer reasoning forms.
        return Score("judge", float(strict_verdict(verdict)), version="2")

    def gold_answer(self, sample: Sample) -> Answer:
        """The gold in the required format."""
        return Answer(f"Explanation: -\nExact Answer: {sample.target[0]}\nConfidence: 100%")

    def floors(self) -> Mapping[str, Floor]:
        """No answer."""
        return {"decline": lambda _: "Exact Answer: unknown"}


def _plain(value: Any, canary: str) -> Any:
    """Decrypt every string in `value`, lists and mappings included."""
    if isinstance(value, str):
        return decrypt(value, canary)
    if isinstance(value, Mapping):
        return {key: _plain(part, canary) for key, part in value.items()}
    return [_plain(part, canary) for part in value] if isinstance(value, list | tuple) else value


@dataclass(frozen=True)
class _Corpus:
    """The corpus, memory-mapped by `datasets`: rows by index."""

    table: Any
    rows: Mapping[str, int]
    """Document id -> row index."""

    @classmethod
    def open(cls, path: str | None, files: Sequence[Path] | None) -> _Corpus:
        """Open the user's file or the hub's. Raises `ConfigError` where it is unreadable."""
        import datasets

        named = [path] if path is not None else list(map(str, files or ()))
        is_parquet = all(name.endswith(".parquet") for name in named)
        read = {"columns": ["docid", "text"]} if is_parquet else {}
        kind = "parquet" if is_parquet else "json"
        try:
            table = datasets.load_dataset(kind, data_files=named, split="train", **read)
        except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
            why = (str(error.__cause__ or error) or repr(error)).splitlines()[0]
            raise ConfigError(f"corpus_path={path or CORPUS}: {why}") from error
        if lacking := {"docid", "text"} - set(table.column_names):
            raise ConfigError(f"corpus_path={path or CORPUS}: no column {', '.join(lacking)}")
        return cls(table, {str(docid): i for i, docid in enumerate(table["docid"])})


@dataclass(frozen=True)
class _Measured:
    """Cached measurements of the contexts: counting 8 million tokens 150 times takes minutes.

    Contains no text: hash, characters, tokens and evidence positions, by query.
    """

    path: Path | None
    """`None` = no cache, because a user's file may change."""
    found: dict[str, tuple[str, int, int, list[tuple[int, int]]]]
    known: int
    """Number of queries in the cache file."""

    @classmethod
    def kept(cls, task: BrowseCompPlus) -> _Measured:
        """Load the measurements of the contexts, which do not depend on the draw of queries."""
        if not task.pinned:
            return cls(None, {}, 0)
        sources = [source.key for source in task.sources()]
        code = class_hash(f"{__name__}.BrowseCompPlus", without="score")
        facts = [code, sources, task.documents, task.fill, task.tokenizer]
        name = f"BrowseCompPlus-measured-{text_hash(json.dumps(facts))[:16]}.json"
        path = cache_dir() / "samples" / name
        found = orjson.loads(path.read_bytes()) if path.is_file() else {}
        return cls(path, found, len(found))

    def write(self) -> None:
        """Write new measurements to the cache."""
        if self.path is not None and len(self.found) > self.known:
            write_atomic(self.path, orjson.dumps(self.found))


@dataclass(frozen=True)
class _Documents:
    """The K documents of one query, rebuilt from the encrypted row on each access."""

    row: Mapping[str, Any]
    corpus: _Corpus
    count: int
    fill: str
    canary: str

    def _own(self) -> dict[str, str]:
        """Evidence and gold, then (by policy) hard negatives: id -> plain text."""
        own: dict[str, str] = {}
        for column in ("evidence_docs", "gold_docs"):
            for document in _plain(self.row[column], self.canary):
                own.setdefault(str(document["docid"]), document["text"])
        if self.fill != "random":
            for document in _plain(self.row["negative_docs"], self.canary):
                if len(own) < self.count:
                    own.setdefault(str(document["docid"]), document["text"])
        return own

    def ids(self) -> list[str]:
        """Document ids in context order: a shuffle that depends only on the query."""
        query_id = str(self.row["query_id"])
        own = self._own()
        filler = list(self.corpus.rows)
        rng("browsecomp_plus filler", query_id).shuffle(filler)  # smaller K nest in larger ones
        chosen = [*own, *(docid for docid in filler if docid not in own)]
        chosen = chosen[: max(self.count, len(own))]
        if len(chosen) < self.count:
            raise ConfigError(
                f"documents={self.count}: the corpus has only {len(chosen)} for query {query_id}"
            )
        return sorted(chosen, key=lambda docid: text_hash(f"{query_id}|{docid}"))

    def __call__(self) -> tuple[str, ...]:
        own, rows = self._own(), self.corpus.rows
        return tuple(
            own[docid] if docid in own else str(self.corpus.table[rows[docid]]["text"])
            for docid in self.ids()
        )
