"""Files of the hub's repositories: listed once, downloaded once, then read without a request.

A commit never changes, so its list of files and every file under its full hash are kept. Downloads
go through the hub's own client into its own cache (`HF_HOME`), with its session, certificates,
proxies and token; a broken download resumes where it stopped. Elsewhere: the meaning of a row
(`tasks.hub`).
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import orjson

from rlm_eval.core.errors import MissingDependency, RlmEvalError
from rlm_eval.core.messages import say
from rlm_eval.core.paths import cache_dir, write_atomic

_SECONDS = 10.0
"""Timeout of one request to the hub, seconds."""
_TAIL = 1 << 16
"""Bytes requested first for a Parquet footer."""
_TOLD = 10_000_000
"""Size in bytes from which a download is announced."""

KNOWN = {
    ("Tevatron/browsecomp-plus", "144cff8"): "144cff8e35b5eaef7e526346aa60774a9deb941f",
    ("Tevatron/browsecomp-plus-corpus", "b27b02b"): "b27b02bc3e45511b8b82a13e6f90ce761df726f6",
    ("zai-org/LongBench-v2", "2b48e49"): "2b48e494f2c7a2f0af81aae178e05c7e1dde0fe9",
}
"""Full hashes of the short ones used in configurations, which are part of cells' identities."""

_CLOSED: ContextVar[str] = ContextVar("why the hub is not asked", default="")


class NotAtHand(MissingDependency):
    """Raised where something of the hub is not available here; the message names the next step."""


@dataclass(frozen=True)
class RemoteFile:
    """One file of a repository."""

    path: str
    """Within the repository."""
    size: int | None
    """Bytes; `None` = the hub did not report it."""


@dataclass(frozen=True)
class Listing:
    """The files of a repository at a commit."""

    repository: str
    """`ORGANISATION/NAME`."""
    revision: str
    """Full commit hash."""
    kind: str
    """`dataset` or `model`."""
    files: tuple[RemoteFile, ...]
    """All files, by path."""
    configs: tuple[dict[str, Any], ...] = ()
    """The card's `configs`: which files make which split."""

    def __str__(self) -> str:
        return f"{self.repository}@{self.revision[:12]}"


@contextmanager
def closed(why: str = "an estimate does not ask the hub") -> Iterator[None]:
    """Forbid hub requests within the block: one that is needed raises `MissingDependency`."""
    token = _CLOSED.set(why)
    try:
        yield
    finally:
        _CLOSED.reset(token)


def check_open() -> None:
    """Raise `MissingDependency` within `closed()`, and where `HF_HUB_OFFLINE` is set."""
    from huggingface_hub import constants

    if why := _CLOSED.get():
        raise MissingDependency(why)
    if constants.HF_HUB_OFFLINE:
        raise MissingDependency("HF_HUB_OFFLINE is set and it is not in the cache")


@contextmanager
def reaching(what: str, ways_out: str) -> Iterator[None]:
    """Turn any error of the hub's client into one `NotAtHand`, which names the next step."""
    try:
        yield
    except NotAtHand:
        raise
    except MissingDependency as error:
        raise NotAtHand(f"{what} is not available: {error}. {_NEXT}, {ways_out}") from error
    except RlmEvalError:
        raise
    except Exception as error:  # the client's HTTP library varies, and so do its exceptions
        raise NotAtHand(f"{what} cannot be read: {_reason(error)} {_NEXT}, {ways_out}") from error


_NEXT = (
    "Either fetch it where the hub can be reached (`rlm-eval prefetch` with the same arguments; "
    "HF_ENDPOINT names a mirror)"
)


def _reason(error: Exception) -> str:
    """Return the cause of the error, and what only the user can do about it."""
    from huggingface_hub import constants, errors

    response = getattr(error, "response", None)
    status = getattr(response, "status_code", None)
    mend = (
        "Accept its terms on its page where it has any, set HF_TOKEN to a token of an account "
        "that may read it, then give the same command again."
    )
    if isinstance(error, errors.GatedRepoError):
        return f"it is gated (HTTP {status}). {mend}"
    if isinstance(error, errors.RevisionNotFoundError):
        return f"{constants.ENDPOINT} has no such revision (HTTP {status})."
    if isinstance(error, errors.RepositoryNotFoundError):
        return f"{constants.ENDPOINT} has it not, or only for some (HTTP {status}). {mend}"
    if status in (401, 403):
        return f"{constants.ENDPOINT} refuses it (HTTP {status}). {mend}"
    if status is not None:
        return f"{constants.ENDPOINT} answers HTTP {status}."
    told = (str(error).splitlines() or [""])[0][:300] or type(error).__name__
    return f"{told.rstrip('.')}."


def full_revision(repository: str, revision: str, kind: str = "dataset") -> str:
    """Return the full commit hash of a short one, a branch or a tag; a full one unchanged.

    A branch or tag is looked up whenever requests are allowed. Raises `MissingDependency` where no
    single commit matches.
    """
    if re.fullmatch(r"[0-9a-f]{40}", revision):
        return revision
    if full := KNOWN.get((repository, revision)):
        return full
    kept = _folder(repository, kind) / "revisions.json"
    known: dict[str, str] = orjson.loads(kept.read_bytes()) if kept.exists() else {}
    is_short = re.fullmatch(r"[0-9a-f]{7,39}", revision) is not None
    if is_short and revision in known:
        return known[revision]
    try:
        check_open()
    except MissingDependency:
        if revision in known:
            return known[revision]
        raise
    found = _asked_revision(repository, revision, kind, is_short=is_short)
    write_atomic(kept, orjson.dumps({**known, revision: found}))
    return found


def _asked_revision(repository: str, revision: str, kind: str, *, is_short: bool) -> str:
    from huggingface_hub import HfApi, constants

    api = HfApi(endpoint=constants.ENDPOINT)
    if not is_short:
        return str(
            api.repo_info(repository, repo_type=kind, revision=revision, timeout=_SECONDS).sha
        )
    commits = api.list_repo_commits(repository, repo_type=kind)
    found = {commit.commit_id for commit in commits if commit.commit_id.startswith(revision)}
    if len(found) != 1:
        raise MissingDependency(
            f"{repository}: no single commit begins with {revision} (found {len(found)}); "
            "set task.revision to a full hash"
        )
    return str(found.pop())


def listing(repository: str, revision: str, kind: str = "dataset") -> Listing:
    """Return the files at a revision: from the cache, else with one request."""
    revision = full_revision(repository, revision, kind)
    kept = _folder(repository, kind) / f"{revision}.json"
    if kept.is_file():
        found = orjson.loads(kept.read_bytes())
        files = tuple(RemoteFile(**file) for file in found["files"])
        return Listing(repository, revision, kind, files, tuple(found["configs"]))
    check_open()
    from huggingface_hub import HfApi, constants

    info: Any = HfApi(endpoint=constants.ENDPOINT).repo_info(
        repository, repo_type=kind, revision=revision, files_metadata=True, timeout=_SECONDS
    )
    files = tuple(
        sorted(
            (RemoteFile(file.rfilename, file.size) for file in info.siblings or ()),
            key=lambda file: file.path,
        )
    )
    card = info.card_data.to_dict() if info.card_data else {}
    configs = [config for config in card.get("configs") or () if isinstance(config, dict)]
    made = {"files": [asdict(file) for file in files], "configs": configs}
    write_atomic(kept, orjson.dumps(made))
    return Listing(repository, revision, kind, files, tuple(configs))


def _folder(repository: str, kind: str) -> Path:
    return cache_dir() / "hub" / f"{kind}s--{repository.replace('/', '--')}"


def at_hand(of: Listing, path: str) -> Path | None:
    """Return the file in the hub client's cache; `None` where it was not downloaded."""
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(of.repository, path, revision=of.revision, repo_type=of.kind)
    return Path(found) if isinstance(found, str) else None


def missing(of: Listing, files: Sequence[RemoteFile]) -> list[RemoteFile]:
    """Return those of `files` that were not downloaded yet."""
    return [file for file in files if at_hand(of, file.path) is None]


def fetched(of: Listing, files: Sequence[RemoteFile]) -> list[Path]:
    """Return the local files, downloading the missing ones; large downloads are announced.

    Raises `MissingDependency` where they do not fit on the disk.
    """
    from huggingface_hub import constants, get_hf_file_metadata, hf_hub_download

    if absent := missing(of, files):
        check_open()
        size = sum(file.size or 0 for file in absent)
        _check_room(of, size, Path(constants.HF_HUB_CACHE))
        # Once without the retries of a download, which take 24 s where the hub is unreachable.
        get_hf_file_metadata(_url(of, absent[0]), timeout=_SECONDS)
        if size >= _TOLD:
            say(
                f"{of}: {len(absent)} file(s), {told_size(size)}, from {constants.ENDPOINT} to "
                f"{constants.HF_HUB_CACHE}"
            )
    return [
        at_hand(of, file.path)
        or Path(
            hf_hub_download(
                of.repository,
                file.path,
                repo_type=of.kind,
                revision=of.revision,
                endpoint=constants.ENDPOINT,
            )
        )
        for file in files
    ]


def snapshot(of: Listing, files: Sequence[RemoteFile], revision: str | None) -> Path:
    """Return the files of a model in one folder, under the revision's given name too: a server that
    is started offline looks for that name."""
    from huggingface_hub import constants, snapshot_download

    if missing(of, files):
        check_open()
    found = snapshot_download(
        of.repository,
        repo_type=of.kind,
        revision=revision,
        allow_patterns=[file.path for file in files],
        endpoint=constants.ENDPOINT,
    )
    return Path(str(found))


def _check_room(of: Listing, size: int, folder: Path) -> None:
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    if size > free:
        raise MissingDependency(
            f"{of} needs {told_size(size)} and {folder} has {told_size(free)} free; free some "
            "space, or name another place with HF_HOME"
        )


def told_size(size: int | None) -> str:
    """Return a size in bytes as words."""
    if size is None:
        return "size unknown"
    return f"{size / 1e9:.2f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"


def parquet_footer(of: Listing, file: RemoteFile) -> bytes:
    """Return the end of a remote Parquet file, its whole footer included (Range requests).

    Empty where the server does not support Range requests: nothing more is read of it.
    """
    check_open()
    found = _tail(of, file, _TAIL)
    length = int.from_bytes(found[-8:-4], "little") + 8 if found else 0
    return found if length <= len(found) else _tail(of, file, length)


def _tail(of: Listing, file: RemoteFile, size: int) -> bytes:
    from huggingface_hub.utils._headers import build_hf_headers
    from huggingface_hub.utils._http import get_session, hf_raise_for_status

    headers = {**build_hf_headers(), "Range": f"bytes=-{size}"}
    with get_session().stream(
        "GET", _url(of, file), headers=headers, timeout=_SECONDS, follow_redirects=True
    ) as response:
        hf_raise_for_status(response)
        return bytes(response.read()) if response.status_code == 206 else b""


def _url(of: Listing, file: RemoteFile) -> str:
    from huggingface_hub import constants, hf_hub_url

    return hf_hub_url(
        of.repository,
        file.path,
        repo_type=of.kind,
        revision=of.revision,
        endpoint=constants.ENDPOINT,
    )
