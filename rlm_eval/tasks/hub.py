"""Tasks whose samples are rows of a data set: of the hub at a pinned revision, or of a local file.

Only the rows and columns that are asked for are read: the hub's Parquet files are streamed with the
filter pushed down, local files are filtered as they are read. Nothing is decided here about what a
row means.
"""

from __future__ import annotations

import itertools
import re
import urllib.error
import urllib.request
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlm_eval.errors import MissingDependency, RlmEvalError
from rlm_eval.tasks.base import Draft, SampledTask, distinct, make_context, make_sample
from rlm_eval.tasks.rows import Condition as Condition
from rlm_eval.tasks.rows import file_rows as file_rows
from rlm_eval.tasks.rows import holds
from rlm_eval.types import Sample


def hub_rows(
    repository: str,
    revision: str,
    split: str,
    *,
    config: str | None = None,
    columns: Sequence[str] | None = None,
    where: Sequence[Condition] = (),
    parquet: bool = True,
) -> Iterator[dict[str, Any]]:
    """Rows of a data set of the hub, streamed; `where` is pushed down to its Parquet files.

    Raises `MissingDependency` naming the ways out where the hub cannot be reached.
    """
    pushed: dict[str, Any] = {}
    if parquet and columns:
        pushed["columns"] = list(columns)
    if parquet and where:
        pushed["filters"] = list(where)
    with _reaching(f"{repository}@{revision} ({split})", "task.path"):
        import datasets

        if not Path(repository).is_dir():
            revision = full_revision(repository, revision)
        rows = datasets.load_dataset(
            repository, config, split=split, revision=revision, streaming=True, **pushed
        )
        for row in rows:
            if holds(row, where):
                yield dict(row)


def hub_table(repository: str, revision: str, split: str) -> Any:
    """A whole data set of the hub, downloaded once and memory-mapped: rows by number."""
    with _reaching(f"{repository}@{revision} ({split})", "task.corpus_path"):
        import datasets

        revision = full_revision(repository, revision)
        return datasets.load_dataset(repository, split=split, revision=revision)


@contextmanager
def _reaching(what: str, field: str) -> Iterator[None]:
    """Turns whatever the hub's client raises into one error that names the ways out."""
    try:
        yield
    except RlmEvalError:
        raise
    except Exception as error:  # the client's HTTP library changes, and with it its exceptions
        reason = (str(error).splitlines() or [""])[0][:300] or type(error).__name__
        raise MissingDependency(
            f"{what} cannot be read: {reason}. Either reach the hub (HF_ENDPOINT names a mirror), "
            f"or set {field} to a local file with the same columns, or use the generated task of "
            "the same shape."
        ) from error


_CLOSED: ContextVar[bool] = ContextVar("hub closed", default=False)


@contextmanager
def closed() -> Iterator[None]:
    """Within, nothing is asked of the hub: what needs it raises `MissingDependency` at once."""
    token = _CLOSED.set(True)
    try:
        yield
    finally:
        _CLOSED.reset(token)


def probe() -> None:
    """Raises `OSError` at once where the hub is out of reach: its client retries for minutes.

    Raises `MissingDependency` within `closed()`.
    """
    if _CLOSED.get():
        raise MissingDependency("an estimate does not ask the hub")
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return
    request = urllib.request.Request(constants.ENDPOINT, method="HEAD")  # noqa: S310 - the hub's
    with suppress(urllib.error.HTTPError):  # it answers
        urllib.request.urlopen(request, timeout=5).close()  # noqa: S310


def full_revision(repository: str, revision: str) -> str:
    """The full commit hash that a short one begins; other names as they are.

    The hub serves full hashes only. Raises `MissingDependency` where no single commit fits.
    """
    probe()
    if not re.fullmatch(r"[0-9a-f]{7,39}", revision):
        return revision
    from huggingface_hub import HfApi

    commits = HfApi().list_repo_commits(repository, repo_type="dataset")
    found = {commit.commit_id for commit in commits if commit.commit_id.startswith(revision)}
    if len(found) != 1:
        raise MissingDependency(
            f"{repository}: no single commit begins with {revision} (found {len(found)}); "
            "set task.revision to a full hash"
        )
    return found.pop()


@dataclass(frozen=True)
class LoadedTask(SampledTask):
    """A task whose samples are rows. A subclass gives `drafts()`, `score()` and `floors()`."""

    path: str | None = None
    """Local file with the same columns; `None` = the hub."""

    @abstractmethod
    def drafts(self) -> Iterator[Draft]:
        """All samples, in a fixed order; read no further than asked."""

    def samples(self) -> Iterator[Sample]:
        """The first `n` samples, keyed by a row's own nominal length, else by the power of two
        that holds its measured tokens: rows of all sizes make lines of a table, not one each."""
        return distinct(self._samples())

    def _samples(self) -> Iterator[Sample]:
        for index, draft in enumerate(itertools.islice(self.drafts(), self.n)):
            context = make_context(draft.context, self.counter, draft.tokens)
            length = 1 << max(0, context.tokens - 1).bit_length()
            yield make_sample(self.name, index, length, draft, context, self.OUTPUT_CAP)
