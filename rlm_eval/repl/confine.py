"""Linux confinement through ctypes: Landlock, seccomp-bpf, rlimits, user namespaces, capabilities.

Standard library only; runs in the fork server and its children, never in the harness's process.
Each function either succeeds completely or raises OSError. Own tables of system call numbers
instead of libseccomp: one shared library less to be present on a cluster node, for 40 lines of
numbers. Follows landlock(7), seccomp(2) and capabilities(7).
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import resource
import signal
import struct
from collections.abc import Callable, Iterable

from rlm_eval.repl import syscalls

MACHINE = platform.machine()
AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
CAP_DAC_READ_SEARCH = 2
NEWUSER = 0x10000000

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


def _check(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result


def _prctl(what: str, option: int, *args: int) -> None:
    _check(_libc.prctl(option, *(ctypes.c_ulong(a) for a in (*args, 0, 0, 0, 0)[:4])), what)


def no_new_privileges() -> None:
    """Prevent set-uid programs from raising this process's privileges from now on."""
    _prctl("PR_SET_NO_NEW_PRIVS", 38, 1)


def die_with_parent(parent: int) -> None:
    """Send SIGKILL when `parent` ends. Cleared by a change of user: call it after `become`.

    Raises OSError where it has ended before: no signal would come.
    """
    _prctl("PR_SET_PDEATHSIG", 1, int(signal.SIGKILL))
    if os.getppid() != parent:
        raise OSError(errno.ESRCH, "the fork server has ended")


def oom_score(value: int) -> None:
    """Set the kernel's order of killing when memory runs out: -1000 never, 1000 first. See proc(5).

    An ordinary user may only raise it; a lower existing value is kept for a negative `value`, a
    higher one for a positive `value`.
    """
    path = "/proc/self/oom_score_adj"
    with open(path) as file:
        now = int(file.read())
    if abs(value) > abs(now) or value * now <= 0:
        with open(path, "w") as file:
            file.write(str(value))


def limit(*, address_space: int, file_bytes: int, open_files: int, processes: int | None) -> None:
    """Set soft and hard limits, bytes and counts. `processes` counts threads of this user."""
    limits = {
        resource.RLIMIT_AS: address_space,
        resource.RLIMIT_FSIZE: file_bytes,
        resource.RLIMIT_NOFILE: open_files,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_MEMLOCK: 0,
    }
    if processes is not None:
        limits[resource.RLIMIT_NPROC] = processes
    for which, value in limits.items():
        hard = resource.getrlimit(which)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(which, (value, value))


def become(user: int, keep_reading: bool) -> None:
    """Turn root into `user` permanently. `keep_reading` keeps the right to read any file.

    That right is needed where only root may enter the folder of the interpreter; Landlock then
    decides which files are read.
    """
    if keep_reading:
        _prctl("PR_SET_KEEPCAPS", 8, 1)
    os.setgroups([])
    os.setresgid(user, user, user)
    os.setresuid(user, user, user)
    drop_capabilities(keep=1 << CAP_DAC_READ_SEARCH if keep_reading else 0)


def drop_capabilities(keep: int = 0) -> None:
    """Drop every capability that is not in the bit mask `keep`."""
    header = struct.pack("Ii", 0x20080522, 0)
    data = struct.pack("6I", keep, keep, 0, 0, 0, 0)
    _check(_libc.capset(ctypes.c_char_p(header), ctypes.c_char_p(data)), "capset")


def own_user_namespace() -> None:
    """Create a user namespace for this process alone: RLIMIT_NPROC then counts only its threads."""
    _check(_libc.unshare(NEWUSER), "unshare")
    drop_capabilities()


# ------------------------------------------------------------------------------------ Landlock

READ_FILE, READ_DIR, EXECUTE = 4, 8, 1
_MAKE_AND_REMOVE = 0b1111111110000
_REFER = 1 << 13
_BITS = {1: 13, 2: 14, 3: 15, 4: 15, 5: 16}


class _Ruleset(ctypes.Structure):
    _fields_ = (("fs", ctypes.c_uint64), ("net", ctypes.c_uint64), ("scoped", ctypes.c_uint64))


class _PathBeneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("allowed", ctypes.c_uint64), ("fd", ctypes.c_int32))


def landlock_abi() -> int:
    """Return the version of Landlock, 0 where the kernel has none or it is switched off."""
    if MACHINE not in syscalls.MACHINES:
        return 0
    number = syscalls.numbers(syscalls.SPECIAL, MACHINE)["landlock_create_ruleset"]
    return max(int(_libc.syscall(number, None, ctypes.c_size_t(0), 1)), 0)


def landlock_rules(readable: Iterable[str], writable: Iterable[str], max_abi: int = 99) -> int:
    """Create a rule set as a descriptor, to be applied by `landlock`.

    Refuses every path not below the given ones; TCP from ABI 4 on; signals and abstract sockets to
    processes outside from ABI 6 on. Paths that do not exist are left out.
    """
    number = syscalls.numbers(syscalls.SPECIAL, MACHINE)
    abi = min(landlock_abi(), max_abi)
    if not abi:
        raise OSError(errno.ENOSYS, "Landlock is not available")
    handled = (1 << _BITS[min(abi, 5)]) - 1
    attributes = _Ruleset(handled, 3 if abi >= 4 else 0, 3 if abi >= 6 else 0)
    size = ctypes.c_size_t(24 if abi >= 6 else 16 if abi >= 4 else 8)
    create = number["landlock_create_ruleset"]
    rules = _check(_libc.syscall(create, ctypes.byref(attributes), size, 0), "landlock")
    directories_only = READ_DIR | _MAKE_AND_REMOVE | _REFER
    for paths, rights in ((readable, READ_FILE | READ_DIR), (writable, handled & ~EXECUTE)):
        for path in paths:
            try:
                fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
            except OSError:
                continue
            # Mapping a shared library needs no execute right: only execve, which is refused, does.
            allowed = rights & handled
            if not os.path.isdir(path):
                allowed &= ~directories_only
            beneath = _PathBeneath(allowed, fd)
            add = number["landlock_add_rule"]
            _check(_libc.syscall(add, rules, 1, ctypes.byref(beneath), 0), f"landlock: {path}")
            os.close(fd)
    return rules


def landlock(rules: int) -> None:
    """Apply a rule set permanently; several rule sets intersect."""
    no_new_privileges()
    number = syscalls.numbers(syscalls.SPECIAL, MACHINE)["landlock_restrict_self"]
    _check(_libc.syscall(number, rules, 0), "landlock_restrict_self")


# ------------------------------------------------------------------------------------- seccomp

_LOAD, _JUMP, _EQUAL, _AT_LEAST, _BITS_SET, _RETURN = 0x20, 0x05, 0x15, 0x35, 0x45, 0x06
_AND = 0x54
_ALLOW, _KILL, _ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
_NAMESPACES = 0x7E020080
_THREAD = 0x00010000
_NEVER = (
    "fork",
    "vfork",
    "execve",
    "execveat",
    "tkill",
    "seccomp",
    "landlock_create_ruleset",
    "landlock_add_rule",
    "landlock_restrict_self",
)
# Call, argument, values refused: undoing `die_with_parent`; having the kernel signal another
# process when a descriptor is ready (any signal, to any process of the user); a pipe's buffer
# beyond its default (the kernel's memory, in no limit of the worker); typing into a terminal.
_NOT_WITH = (
    ("prctl", 0, (1,)),
    ("fcntl", 1, (8, 10, 15, 1031)),
    ("ioctl", 1, (0x8901, 0x8902, 0x5412, 0x541C)),
)


def seccomp_program(pid: int, *, paths: bool) -> bytes:
    """Return the filter of process `pid`: threads yes; processes, sockets, other processes no.

    A deny list over the known calls; every call newer than the list is refused. `paths=False` also
    refuses every call that takes a path.
    """
    special = syscalls.numbers(syscalls.SPECIAL, MACHINE)
    denied = list(syscalls.numbers(syscalls.DENIED, MACHINE).values())
    if not paths:
        denied += syscalls.numbers(syscalls.PATHS, MACHINE).values()
    denied += [special[name] for name in _NEVER if name in special]
    program: list[bytes] = []

    def add(code: int, value: int, yes: int = 0, no: int = 0) -> None:
        program.append(struct.pack("HBBI", code, yes, no, value))

    def when(call: str, *checks: tuple[int, int, int, int], otherwise: int) -> None:
        """`checks` are (code, value, yes, no) on an argument that the first one loads."""
        add(_EQUAL, special[call], 0, len(checks) + 1)
        for code, value, yes, no in checks:
            add(code, value, yes, no)
        add(_RETURN, otherwise)

    refuse = _ERRNO | errno.EPERM
    add(_LOAD, 4)
    add(_EQUAL, AUDIT_ARCH[MACHINE], 1, 0)
    add(_RETURN, _KILL)
    add(_LOAD, 0)
    # Unknown calls, and on x86_64 the x32 calls, which lie at 2^30 and above.
    add(_AT_LEAST, syscalls.NEWEST + 1, 0, 1)
    add(_RETURN, _ERRNO | errno.ENOSYS)
    # A jump reaches 255 instructions: refuse in groups.
    for start in range(0, len(denied), 200):
        group = denied[start : start + 200]
        for index, call in enumerate(group):
            add(_EQUAL, call, len(group) - index, 0)
        add(_JUMP, 1)
        add(_RETURN, refuse)
    # The arguments of clone3 lie in memory and cannot be checked; glibc falls back to clone.
    when("clone3", otherwise=_ERRNO | errno.ENOSYS)
    when(
        "clone",
        (_LOAD, 16, 0, 0),
        (_BITS_SET, _NAMESPACES, 2, 0),
        (_BITS_SET, _THREAD, 0, 1),
        (_RETURN, _ALLOW, 0, 0),
        otherwise=refuse,
    )
    # To itself only, and not SIGKILL: a worker that ends by this signal was killed from outside.
    for signalling, signal_at in (("kill", 24), ("tgkill", 32)):
        when(
            signalling,
            (_LOAD, 16, 0, 0),
            (_EQUAL, pid, 0, 3),
            (_LOAD, signal_at, 0, 0),
            (_EQUAL, int(signal.SIGKILL), 1, 0),
            (_RETURN, _ALLOW, 0, 0),
            otherwise=refuse,
        )
    # prlimit64 may read, not set: its third argument, a pointer, must be null.
    when(
        "prlimit64",
        (_LOAD, 32, 0, 0),
        (_EQUAL, 0, 0, 3),
        (_LOAD, 36, 0, 0),
        (_EQUAL, 0, 0, 1),
        (_RETURN, _ALLOW, 0, 0),
        otherwise=refuse,
    )
    # A pair of datagram sockets can send to any named socket; a pair of streams cannot.
    when(
        "socketpair",
        (_LOAD, 16, 0, 0),
        (_EQUAL, 1, 0, 4),
        (_LOAD, 24, 0, 0),
        (_AND, 0xF, 0, 0),
        (_EQUAL, 1, 0, 1),
        (_RETURN, _ALLOW, 0, 0),
        otherwise=refuse,
    )
    for restricted, argument, values in _NOT_WITH:
        checks = [(_EQUAL, value, len(values) - i, 0) for i, value in enumerate(values)]
        load = (_LOAD, 16 + 8 * argument, 0, 0)
        when(restricted, load, *checks, (_RETURN, _ALLOW, 0, 0), otherwise=refuse)
    add(_RETURN, _ALLOW)
    return b"".join(program)


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))


def seccomp(program: bytes) -> None:
    """Install a filter permanently."""
    buffer = ctypes.create_string_buffer(program, len(program))
    described = _Program(len(program) // 8, ctypes.addressof(buffer))
    no_new_privileges()
    number = syscalls.numbers(syscalls.SPECIAL, MACHINE)["seccomp"]
    _check(_libc.syscall(number, 1, 0, ctypes.byref(described)), "seccomp")


def tried(action: Callable[[], object]) -> str | None:
    """Run `action` in a forked child: return `None` on success, else the error's text."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            action()
            os.write(writer, b"ok")
        except BaseException as error:  # noqa: BLE001 - whatever it is, it is the finding
            os.write(writer, (str(error) or repr(error)).encode()[:400])
        finally:
            os._exit(0)
    os.close(writer)
    text = os.read(reader, 500).decode()
    os.close(reader)
    os.waitpid(pid, 0)
    return None if text == "ok" else text or "the attempt was killed"
