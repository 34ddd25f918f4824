"""Servers shared by the jobs of a run: a job that runs them registers them, the others attach.

`<run>/servers/shared/` has one file per server (address, counter), rewritten every ten seconds, and
the file `key`, made once for the run, readable by its owner alone. A server counts while its
counter increases, by the reader's own clock; while it starts its address is empty. If it did not
start, `<name>.failed` gives the reason. Elsewhere: the process that runs the servers (`serving`).
"""

from __future__ import annotations

import asyncio
import os
import secrets
import stat
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from rlm_eval.core.clock import awake_time
from rlm_eval.core.errors import EndpointGone, EndpointUnusable
from rlm_eval.core.messages import say
from rlm_eval.core.secrets import SECRETS
from rlm_eval.core.types import text_hash
from rlm_eval.models import EndpointInfo
from rlm_eval.models.endpoint import Meter
from rlm_eval.models.servers.placement import key_of
from rlm_eval.models.waiting import INTERRUPT

RENEW_S = 10.0
STALE_S = 60.0
"""Seconds without a new counter after which a server counts as gone."""
_LOOK_S = 1.0


def place(logs: Path) -> Path:
    """Return the folder of the registrations of the run whose servers' folder is `logs`."""
    return logs / "shared"


def run_key(folder: Path) -> str:
    """Return the key of the run's shared servers; made where there is none.

    Raises `EndpointUnusable` where other users may read it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "key"
    draft = folder / f".key.{secrets.token_hex(8)}"
    if not path.exists():
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(secrets.token_hex(24))
        with suppress(FileExistsError):
            os.link(draft, path)  # one process makes it, with its content
        draft.unlink()
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        raise EndpointUnusable(f"{path}: others may read it; chmod 600 it, or delete it")
    key = path.read_text()
    SECRETS.add("the key of the shared servers", key, declared=True)
    return key


def name_of(key: tuple[str, str, int | None]) -> str:
    """Return the name under which servers with this key (`placement.Key`) register."""
    return text_hash(repr(key))[:16]


def failed_file(folder: Path, name: str) -> Path:
    """Return the file with the reason why the servers of this name did not start."""
    return folder / f"{name}.failed"


def forget_failure(folder: Path, name: str) -> None:
    """Remove the failure of an earlier start."""
    with suppress(OSError):
        failed_file(folder, name).unlink()


class Registration:
    """The file of one server that this process runs."""

    def __init__(self, folder: Path, name: str) -> None:
        self._path = folder / f"{name}-{secrets.token_hex(4)}.json"
        self._failed = failed_file(folder, name)
        self._count = 0

    def renew(self, url: str) -> None:
        """Rewrite the file; without an address while the server starts. Raises `OSError`."""
        self._count += 1
        draft = self._path.with_suffix(".draft")
        draft.write_bytes(orjson.dumps({"url": url, "count": self._count}))
        draft.replace(self._path)

    def fail(self, why: str) -> None:
        """Report to readers that the server did not start, or is gone for good."""
        with suppress(OSError):
            self._failed.parent.mkdir(parents=True, exist_ok=True)
            draft = self._failed.with_suffix(".draft")
            draft.write_text(why, encoding="utf-8")
            draft.replace(self._failed)
        self.end()

    def end(self) -> None:
        """Remove the file."""
        with suppress(OSError):
            self._path.unlink()


class Registry:
    """The registered servers of one name, as one reader sees them."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder, self._name = folder, name
        self._seen: dict[str, tuple[int, float]] = {}
        self._starts = False

    def failure(self) -> str | None:
        """Return why no server of this name will come, at the last read; `None` while one may."""
        if self._starts:
            return None
        try:
            return failed_file(self._folder, self._name).read_text("utf-8")
        except OSError:
            return None

    def addresses(self) -> list[str]:
        """Return the addresses of the servers that count now, in the order of their files."""
        found = []
        for path in sorted(self._folder.glob(f"{self._name}-*.json")):
            try:
                told = orjson.loads(path.read_bytes())
            except (OSError, ValueError):  # ended, or being written
                continue
            count, since = self._seen.get(path.name, (-1, 0.0))
            if told["count"] != count:
                since = time.monotonic()
                self._seen[path.name] = (told["count"], since)
            if time.monotonic() - since < STALE_S:
                found.append(str(told["url"]))
            else:  # of a killed process; one that only slept writes it again
                with suppress(OSError):
                    path.unlink()
        self._starts = "" in found
        return [url for url in found if url]


@dataclass
class Shared:
    """The present shared server; satisfies `endpoint.Host`. It may restart at another address."""

    registry: Registry
    who: str
    """Name for messages."""
    info: EndpointInfo
    patience_s: float
    """Seconds to wait for a missing server."""
    key: str
    """Its key."""
    meter: Meter = field(default_factory=Meter)
    held: None = None
    _url: str = ""
    _looked: float = 0.0

    @property
    def base_url(self) -> str:
        """Its address; read again once a second."""
        if time.monotonic() - self._looked > _LOOK_S:
            self._look()
        return self._url

    def _look(self) -> bool:
        self._looked = time.monotonic()
        urls = self.registry.addresses()
        if urls and self._url not in urls:
            self._url = urls[os.getpid() % len(urls)]  # processes spread over several servers
        return bool(urls)

    def last_words(self) -> str | None:
        """Return `None`: unknown."""
        return None

    async def ensure(self) -> None:
        """Wait until a server is registered, reporting once a minute. Raises `EndpointGone`."""
        if self._url:
            return
        began = told = awake_time()
        while not await asyncio.to_thread(self._look):
            now = awake_time()
            if (why := await asyncio.to_thread(self.registry.failure)) is not None:
                raise EndpointGone(
                    f"{self.who}: the shared server did not start: {why}\n"
                    "with the cause out of the way, start it again (rlm-eval serve, or submit "
                    "--serve); the same command resumes"
                )
            if now - began > self.patience_s:
                raise EndpointGone(
                    f"{self.who}: no shared server was registered within {self.patience_s:.0f} s; "
                    "start one with: rlm-eval serve OVERRIDES (the same as of the run), or, as a "
                    "job, with rlm-eval submit --serve; where that job failed, jobs/log says why"
                )
            if now >= told:
                say(
                    f"{self.who}: waiting for a shared server (rlm-eval serve), {now - began:.0f} s"
                )
                told = now + 60.0
            await INTERRUPT.get().sleep(min(_LOOK_S, 0.2))


def shared_host(model: Any, logs: Path | None) -> Shared:
    """Return the host of the server that `rlm-eval serve` runs; `logs` is the run's folder of logs.

    Raises `EndpointUnusable` outside a run (`None`).
    """
    if logs is None:
        raise EndpointUnusable(
            f"{model.name}: server=shared works within a run, whose directory names the server; "
            "use server=spawn here"
        )
    folder = place(logs)
    name = name_of(key_of(model.engine, model.model, model.window))
    return Shared(
        Registry(folder, name),
        model.name,
        EndpointInfo(model.model, engine=model.engine.label, revision=model.revision),
        max(model.patience_s, model.engine.startup_s),
        run_key(folder),
    )
