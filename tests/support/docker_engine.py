"""A Docker daemon of the test's own: its socket, data and processes end with the test."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[2]
NEEDS = ("dockerd", "docker", "debootstrap", "setpriv")


class NoEngine(Exception):
    """This machine cannot run one; says why."""


class Engine:
    """A daemon that listens on `host`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.host = f"unix://{folder}/sock"
        self._log = folder / "log"
        command = ["setpriv", "--pdeathsig=TERM"]  # a killed test leaves no daemon
        command += ["dockerd", f"--host={self.host}", f"--data-root={folder}/data"]
        command += [f"--exec-root={folder}/exec", f"--pidfile={folder}/pid"]
        command += [f"--config-file={folder}/config", "--iptables=false", "--bridge=none"]
        (folder / "config").write_text("{}")
        with self._log.open("w") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)

    def wait(self, seconds: float = 60.0) -> None:
        """Until it answers. Raises `NoEngine`."""
        end = time.monotonic() + seconds
        while self.docker("info", check=False).returncode:
            if self.process.poll() is not None or time.monotonic() > end:
                raise NoEngine(f"dockerd does not start: {self._log.read_text()[-300:].strip()}")
            time.sleep(0.2)

    def docker(self, *arguments: str, check: bool = True, **options) -> subprocess.CompletedProcess:
        """A `docker` command at this daemon."""
        env = os.environ | {"DOCKER_HOST": self.host, "DOCKER_BUILDKIT": "0"}
        return subprocess.run(
            ["docker", *arguments], env=env, capture_output=True, text=True, check=check, **options
        )

    def image(self, name: str) -> None:
        """Make one as documented. Raises `NoEngine` where its packages cannot be had."""
        command = [str(ROOT / "scripts" / "docker_image.sh"), name]
        env = os.environ | {"DOCKER_HOST": self.host}
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=300)
        if done.returncode:
            raise NoEngine(f"docker_image.sh: {(done.stderr.strip() or '?').splitlines()[-1]}")

    def containers(self) -> list[str]:
        """Names of all containers, running or not."""
        return self.docker("ps", "--all", "--format={{.Names}}").stdout.split()

    def stop(self) -> None:
        """End the daemon, and with it its containers."""
        self.process.terminate()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


@contextmanager
def engine() -> Iterator[Engine]:
    """A daemon in a temporary folder. Raises `NoEngine`."""
    if os.geteuid() != 0:
        raise NoEngine("a Docker daemon needs root")
    if missing := [name for name in NEEDS if shutil.which(name) is None]:
        raise NoEngine(f"not installed: {', '.join(missing)}")
    folder = Path(tempfile.mkdtemp(prefix="docker-"))  # short: the path of a socket has 107 bytes
    running = Engine(folder)
    try:
        running.wait()
        yield running
    finally:
        running.stop()
        mounts = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
        for place in reversed([m for m in mounts if m.startswith(f"{folder}/")]):
            subprocess.run(["umount", "--lazy", place], check=False)
        shutil.rmtree(folder, ignore_errors=True)
