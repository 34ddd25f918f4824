"""The system call tables against the kernel's headers, and what the filter answers, per machine.

Runs the filter in a small interpreter, so that the machine that is not at hand is checked too.
"""

import errno
import re
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from rlm_eval.repl import confine, syscalls

HEADERS = {
    "x86_64": ("/usr/include/x86_64-linux-gnu/asm/unistd_64.h", "/usr/include/asm/unistd_64.h"),
    "aarch64": ("/usr/include/asm-generic/unistd.h",),
}
TABLES = (syscalls.DENIED, syscalls.PATHS, syscalls.SPECIAL)
HARMLESS = {"x86_64": (0, 1, 9), "aarch64": (63, 64, 222)}  # read, write, mmap
ALLOWED, REFUSED, UNKNOWN = 0x7FFF0000, 0x50000 | errno.EPERM, 0x50000 | errno.ENOSYS
KILLED = 0x80000000


def answer(program: bytes, arch: int, number: int, *args: int) -> int:
    """What the kernel would do: classic BPF over `struct seccomp_data`."""
    data = struct.pack("IIQ6Q", number, arch, 0, *(args + (0,) * 6)[:6])
    steps = list(struct.iter_unpack("HBBI", program))
    at = loaded = 0
    while True:
        code, yes, no, value = steps[at]
        at += 1
        if code == 0x06:
            return value
        if code == 0x20:
            loaded = struct.unpack_from("I", data, value)[0]
        elif code == 0x54:
            loaded &= value
        elif code == 0x05:
            at += value
        else:
            holds = {0x15: loaded == value, 0x35: loaded >= value, 0x45: bool(loaded & value)}
            at += yes if holds[code] else no


@pytest.mark.parametrize("machine", HEADERS)
def test_numbers_are_the_kernels(machine):
    header = next((Path(p) for p in HEADERS[machine] if Path(p).exists()), None)
    if header is None:
        pytest.skip("no kernel headers (linux-libc-dev)")
    lines = re.findall(r"#define __NR(?:3264)?_(\w+)\s+(\d+)\b", header.read_text())
    known = {name: int(number) for name, number in lines}
    known["newfstatat"] = known.get("newfstatat", known.get("fstatat"))
    ours = {k: v for table in TABLES for k, v in syscalls.numbers(table, machine).items()}
    both = ours.keys() & known.keys()
    assert len(both) > 100
    assert {name: ours[name] for name in both} == {name: known[name] for name in both}


@pytest.mark.parametrize("paths", [True, False])
@pytest.mark.parametrize("machine", HEADERS)
def test_the_filter_refuses_what_the_tables_name(machine, paths, monkeypatch):
    monkeypatch.setattr(confine, "MACHINE", machine)
    program = confine.seccomp_program(77, paths=paths)
    assert len(program) // 8 < 4096  # the kernel's limit
    arch = confine.AUDIT_ARCH[machine]
    for name, number in syscalls.numbers(syscalls.DENIED, machine).items():
        assert answer(program, arch, number) == REFUSED, name
    for name, number in syscalls.numbers(syscalls.PATHS, machine).items():
        assert answer(program, arch, number) == (ALLOWED if paths else REFUSED), name
    for number in HARMLESS[machine]:
        assert answer(program, arch, number) == ALLOWED
    assert answer(program, arch, syscalls.NEWEST + 1) == UNKNOWN
    assert answer(program, arch ^ 1, HARMLESS[machine][0]) == KILLED
    special = syscalls.numbers(syscalls.SPECIAL, machine)
    thread, process = 0x3D0F00, 17
    cases = [
        ("clone", (thread,), ALLOWED),
        ("clone", (process,), REFUSED),
        ("clone", (thread | 0x10000000,), REFUSED),
        ("clone3", (0, 88), UNKNOWN),
        ("kill", (77, 15), ALLOWED),
        ("kill", (77, 9), REFUSED),
        ("kill", (78, 15), REFUSED),
        ("kill", (2**32 - 1, 15), REFUSED),
        ("tgkill", (77, 77, 15), ALLOWED),
        ("tgkill", (77, 77, 9), REFUSED),
        ("tgkill", (78, 77, 15), REFUSED),
        ("tkill", (77, 9), REFUSED),
        ("execve", (1, 2, 3), REFUSED),
        ("prlimit64", (0, 6, 0, 1), ALLOWED),
        ("prlimit64", (0, 6, 1 << 32, 1), REFUSED),
        ("socketpair", (1, 1), ALLOWED),
        ("socketpair", (1, 1 | 0o2000000), ALLOWED),
        ("socketpair", (1, 2), REFUSED),
        ("socketpair", (2, 1), REFUSED),
        ("prctl", (1, 0), REFUSED),
        ("prctl", (15, 0), ALLOWED),
        ("fcntl", (3, 8, 5), REFUSED),
        ("fcntl", (3, 1031, 1 << 20), REFUSED),
        ("fcntl", (3, 2, 1), ALLOWED),
        ("ioctl", (3, 0x5412), REFUSED),
        ("ioctl", (3, 0x5413), ALLOWED),
    ]
    for name, args, wanted in cases:
        assert answer(program, arch, special[name], *args) == wanted, (name, args)


def test_a_machine_without_a_table_is_refused_in_clear_words():
    if shutil.which("setarch") is None:
        pytest.skip("no setarch")
    code = "import asyncio\nfrom rlm_eval.repl import ReplConfig, open_pool\n"
    code += "async def main(isolation):\n    async with open_pool(ReplConfig(isolation)) as pool:\n"
    code += "        async with pool.open(None, {}) as repl:\n"
    code += "            print((await repl.run('print(7)')).stdout)\n"
    code += "asyncio.run(main('none'))\nasyncio.run(main('best'))"
    command = ["setarch", "i686", sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "SandboxError" in done.stderr
    assert "no system call table for i686 (there is one for x86_64, aarch64)" in done.stderr
    assert done.stdout == "7\n\n"
