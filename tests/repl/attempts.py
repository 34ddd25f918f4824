"""What model-written code may try: one entry per attempt, run against every level of isolation.

An attempt to get out prints ESCAPED where it worked. An attempt to use the machine up, or to
break the worker, must leave a REPL that goes on with the variables from before. As a program, this
file runs them all as whoever started it and prints one JSON object: the test suite does so as an
ordinary user. It needs nothing but the package.
"""

from __future__ import annotations

import asyncio
import json
import os
import platform
import secrets
import socket
import sys
import tempfile
import traceback
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlm_eval.repl import BlockResult, ReplConfig, SandboxError, sandbox
from rlm_eval.repl.confine import landlock_abi
from rlm_eval.repl.pool import SandboxPool

CONFIG = ReplConfig(
    block_seconds=1.5,  # six attempts at a time, some of them burning: a plain block must end in it
    block_cpu_seconds=5,
    memory_mb=300,
    output_mb=4,
    threads=32,
    file_mb=8,
    open_files=64,
    message_mb=8,
)
OLD = {"max_abi": 1, "user_namespaces": False}
LEVELS: dict[str, tuple[str, dict[str, Any]]] = {
    "A": ("A", {}),
    "B": ("B", {}),
    "B on Linux 5.13 without user namespaces": ("B", OLD),
    "C": ("C", {}),
}
"""Level -> (tier, what the machine is taken to lack)."""


@dataclass(frozen=True)
class Attempt:
    """Something that must not work."""

    name: str
    code: str
    """Prints ESCAPED where it got out. `@name@` is replaced by a place of the host."""
    error: str | None = None
    """What the block must end with, where that is certain."""
    levels: str = "ABC"
    """Tiers in which it is meaningful."""
    lost: bool | None = None
    """Whether the worker must be replaced, where that is certain."""
    machine: str = ""
    """The only machine on which its numbers mean what they say; '' = any."""
    control: bool = False
    """Harmless where it does work: without isolation it must, or it proves nothing."""

    def means_something(self, tier: str) -> bool:
        """In this tier, on this machine."""
        return tier in self.levels and self.machine in ("", platform.machine())


def _each(name: str, lines: str, control: bool = False) -> Attempt:
    """An attempt whose every line is tried on its own: none may work."""
    body = "".join(
        f"try:\n    {line}\n    print('ESCAPED by line {number}')\nexcept Exception as e: pass\n"
        for number, line in enumerate(lines.strip().splitlines(), 1)
    )
    return Attempt(name, "import os, socket, shutil, pathlib, io\n" + body, control=control)


SYSCALL = """
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
def call(name, number, *args):
    if libc.syscall(number, *args) != -1: print('ESCAPED', name)
"""

ESCAPES = [
    _each(
        "read files of the host",
        """
open(@secret@).read()
open('/etc/passwd').read()
open('/etc/hostname').read()
open('/proc/cpuinfo').read()
open(os.path.expanduser('~root') + '/.bashrc').read()
open(@package@ + '/types.py').read()
os.listdir(@package@)
os.listdir(@folder@)
os.listdir('/tmp')
io.FileIO(@secret@).read()
os.open(@secret@, os.O_RDONLY)
pathlib.Path(@secret@).read_text()
shutil.copy(@secret@, 'copy')
open(@other_scratch@ + '/mine').read()
""",
        control=True,
    ),
    _each(
        "import what may hold gold answers",
        "import rlm_eval.tasks\nimport pytest\nimport orjson\nimport datasets\nimport omegaconf",
    ),
    Attempt(
        "read site-packages",
        "import glob, sys\nfor site in @sites@:\n    try:\n        import os\n"
        "        for name in os.listdir(site): print('ESCAPED', name)\n"
        "    except OSError: pass",
        control=True,
    ),
    _each(
        "write outside the scratch folder",
        """
open(@secret@, 'w').write('x')
open(@secret@, 'a').write('x')
open(@folder@ + '/new', 'w').write('x')
os.mkdir(@folder@ + '/new')
os.rename(@secret@, @folder@ + '/moved')
os.remove(@secret@)
os.truncate(@secret@, 0)
os.chmod(@secret@, 0o777)
os.utime(@secret@)
os.chown(@secret@, os.getuid(), os.getgid())
os.setxattr(@secret@, b'user.x', b'x')
os.mkfifo(@folder@ + '/pipe')
open('/dev/shm/' + @stray@, 'w').write('x')
open('/tmp/' + @stray@, 'w').write('x')
open('/var/tmp/' + @stray@, 'w').write('x')
""",
    ),
    _each(
        "symlink and hard-link tricks",
        """
os.symlink(@secret@, 'soft'); open('soft').read()
os.symlink(@folder@, 'softdir'); os.listdir('softdir')
os.symlink(@folder@, 'softdir2'); open('softdir2/new', 'w').write('x')
os.link(@secret@, 'hard'); open('hard').read()
os.symlink('/proc/self', 'proc'); open('proc/environ').read()
open('../../../../../../..' + @secret@).read()
os.chdir('/'); os.listdir('.')
os.chdir(@folder@); open('secret').read()
""",
        control=True,
    ),
    Attempt(
        "environment variables of the host",
        "import os\n"
        "if any(k in os.environ for k in ('RLM_EVAL_CANARY', 'USER', 'SSH_CLIENT', 'VIRTUAL_ENV')):"
        " print('ESCAPED')\n"
        "if 'canary' in str(os.environ): print('ESCAPED')\n"
        "for who in ('self', str(os.getppid()), @pid@, 1):\n"
        "    try:\n        print('ESCAPED', open(f'/proc/{who}/environ', 'rb').read())\n"
        "    except OSError: pass",
    ),
    Attempt(
        "/proc of other processes",
        "import os\n"
        "for who in (os.getppid(), @pid@, @other_pid@, 1):\n"
        "    for what in ('cmdline', 'maps', 'mem', 'status', 'stat', 'environ', 'fd', 'root'):\n"
        "        path = f'/proc/{who}/{what}'\n"
        "        try:\n"
        "            if what in ('fd', 'root'): os.listdir(path)\n"
        "            else: open(path, 'rb').read(1)\n"
        "            print('ESCAPED', path)\n"
        "        except OSError: pass\n"
        "    for what in ('exe', 'cwd', 'fd/0', 'ns/net'):\n"
        "        try: print('ESCAPED', os.readlink(f'/proc/{who}/{what}'))\n"
        "        except OSError: pass\n"
        "for path in ('/proc/self/mem', '/proc/sys/kernel/hostname'):\n"
        "    try:\n        open(path, 'rb')\n        print('ESCAPED', path)\n"
        "    except OSError: pass",
        control=True,
    ),
    _each(
        "network",
        """
socket.create_connection(('127.0.0.1', @port@), 1)
socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', @port@))
socket.socket(socket.AF_INET6)
socket.socket(socket.AF_UNIX).connect(@unix@)
socket.socket(socket.AF_UNIX).connect(chr(0) + @stray@)
socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)
socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)[0].sendto(b'x', @datagram@)
socket.create_server(('127.0.0.1', 0))
__import__('urllib.request').request.urlopen('http://127.0.0.1:%d' % @port@, timeout=1)
socket.getaddrinfo('localhost', 'http')[0] and socket.socket()
""",
        control=True,
    ),
    Attempt(
        "signals to other processes",
        "import os, signal, socket, fcntl, ctypes\n"
        "libc = ctypes.CDLL(None, use_errno=True)\n"
        "for who in (os.getppid(), @pid@, @other_pid@, 1, -1, 0):\n"
        "    try:\n        os.kill(who, 0)\n        print('ESCAPED kill', who)\n"
        "    except (OSError, OverflowError): pass\n"
        "    for f in (lambda: os.killpg(who, 0), lambda: os.pidfd_open(who),\n"
        "              lambda: os.setpriority(os.PRIO_PROCESS, who, 19),\n"
        "              lambda: os.sched_setaffinity(who, {0}) if who > 0 else 1 / 0):\n"
        "        try:\n            f()\n            print('ESCAPED', who)\n"
        "        except Exception: pass\n"
        "    for number in (129, 62, 200):\n"
        "        if who not in (0, -1) and libc.syscall(number, who, 0, 0) == 0:\n"
        "            print('ESCAPED', number)\n"
        "a, b = socket.socketpair()\n"
        "for command, value in ((8, @pid@), (10, signal.SIGKILL)):\n"
        "    try:\n        fcntl.fcntl(a, command, value)\n        print('ESCAPED fcntl')\n"
        "    except OSError: pass\n"
        "try:\n    fcntl.ioctl(a, 0x8901, (@pid@).to_bytes(4, 'little'))\n"
        "    print('ESCAPED ioctl')\nexcept OSError: pass",
    ),
    _each(
        "new processes and programs",
        """
os.fork() or os._exit(0)
os.forkpty()
os.posix_spawn('/bin/true', ['true'], {})
os.system('true') == 0 or 1 / 0
__import__('subprocess').run(['/bin/true'], check=True)
__import__('subprocess').run([__import__('sys').executable, '-c', '1'], check=True)
__import__('multiprocessing').Process(target=print).start()
list(__import__('concurrent.futures').futures.ProcessPoolExecutor(1).map(str, [1]))
os.execv('/bin/sh', ['sh'])
""",
    ),
    Attempt(
        "system calls through ctypes",
        SYSCALL + "call('fork', 57)\ncall('vfork', 58)\ncall('socket', 41, 2, 1, 0)\n"
        "call('ptrace', 101, 16, @pid@, 0, 0)\ncall('unshare', 272, 0x10000000)\n"
        "call('setns', 308, 0, 0)\ncall('mount', 165, b'none', b'/', b'tmpfs', 0, 0)\n"
        "call('chroot', 161, b'.')\ncall('bpf', 321, 0, 0, 0)\ncall('userfaultfd', 323, 0)\n"
        "call('io_uring', 425, 8, ctypes.create_string_buffer(200))\n"
        "call('perf', 298, ctypes.create_string_buffer(200), 0, -1, -1, 0)\n"
        "call('open', 2, @secret@.encode(), 0)\ncall('openat', 257, -100, @secret@.encode(), 0)\n"
        "call('openat2', 437, -100, @secret@.encode(), ctypes.create_string_buffer(24), 24)\n"
        "call('truncate', 76, @secret@.encode(), 0)\ncall('keyctl', 250, 0, -3, 0)\n"
        "call('memfd', 319, b'x', 0)\ncall('pidfd_open', 434, @pid@, 0)\n"
        "call('process_vm_readv', 310, @pid@, 0, 0, 0, 0, 0)\ncall('kexec', 246, 0, 0, 0, 0)\n"
        "call('open_by_handle_at', 304, -100, ctypes.create_string_buffer(64), 0)\n"
        "call('name_to_handle_at', 303, -100, b'/', ctypes.create_string_buffer(200),\n"
        "     ctypes.create_string_buffer(8), 0)\n"
        "call('seccomp', 317, 1, 0, 0)\ncall('clone newuser', 56, 0x10000000 | 17, 0, 0, 0, 0)\n"
        "call('clone', 56, 17, 0, 0, 0, 0)\n"
        "call('clone3', 435, ctypes.create_string_buffer(88), 88)\n"
        "call('newer than the list', 467, 0, 0)\ncall('pdeathsig', 157, 1, 0, 0, 0, 0)\n"
        "call('prlimit', 302, 0, 6, (ctypes.c_uint64 * 2)(1 << 40, 1 << 40), 0)\n"
        "call('inotify', 294, 0)\ncall('shmget', 29, 0, 4096, 0o1600)\n"
        "call('io_setup', 206, 64, ctypes.byref(ctypes.c_ulong(0)))\n"
        "call('timer_create', 222, 0, 0, ctypes.byref(ctypes.c_ulong(0)))\n"
        "call('sync', 162)\n"
        "call('personality', 135, 0x0040000)\n",
        machine="x86_64",
    ),
    Attempt(
        "the 32-bit door",
        "import ctypes, mmap\n"
        "page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)\n"
        "page.write(bytes.fromhex('b814000000cd80c3'))\n"
        "address = ctypes.addressof(ctypes.c_char.from_buffer(page))\n"
        "print('ESCAPED', ctypes.CFUNCTYPE(ctypes.c_int)(address)())",
        error="worker_lost",
        machine="x86_64",
    ),
    Attempt(
        "the x32 door",
        SYSCALL + "call('x32 open', 0x40000000 | 2, @secret@.encode(), 0)",
        machine="x86_64",
    ),
    Attempt(
        "descriptors of the host",
        "import os, stat\nfound = []\n"
        "for fd in range(3, 1024):\n"
        "    try: found.append((fd, stat.S_IFMT(os.fstat(fd).st_mode)))\n"
        "    except OSError: pass\n"
        "if len(found) > 1 or any(kind != stat.S_IFSOCK for _, kind in found):\n"
        "    print('ESCAPED', found)",
    ),
    Attempt(
        "another user",
        "import os\n"
        "for f in (lambda: os.setuid(0), lambda: os.setgid(0), lambda: os.setgroups([0]),"
        " lambda: os.nice(-5)):\n"
        "    try:\n        f()\n        print('ESCAPED')\n    except OSError: pass",
    ),
]

LIMITS = [
    Attempt("an endless loop", "while True: pass", "limit:time", lost=False),
    Attempt("sleeping", "import time\ntime.sleep(100)", "limit:time", lost=False),
    Attempt(
        "an endless loop that swallows interrupts",
        "import time\nwhile True:\n    try: time.sleep(10)\n    except BaseException: pass",
        "limit:time",
        lost=True,
    ),
    Attempt("a loop in C", "sum(iter(int, 1))", "limit:time", lost=True),
    Attempt("a regular expression without end", "import re\nre.match('(a+)+$', 'a' * 60 + 'b')"),
    Attempt("a fork bomb", "import os\nwhile True: os.fork()", "PermissionError"),
    Attempt(
        "a thread bomb",
        "import threading, time\nfor i in range(10000):\n"
        "    threading.Thread(target=time.sleep, args=(100,), daemon=True).start()",
        "RuntimeError",
        levels="AB",
    ),
    Attempt("a 30 GB allocation", "x = bytearray(30 << 30)", "MemoryError"),
    Attempt("growing lists", "x = []\nwhile True: x.append(bytes(1 << 24))", "MemoryError"),
    Attempt("growing by small portions", "x = []\nwhile True: x.append(bytes(1 << 12))"),
    Attempt(
        "the last byte of memory",
        "x = []\nfor size in (1 << 22, 1 << 16, 1 << 12, 1 << 8):\n    try:\n"
        "        while True: x.append(bytes(size))\n    except MemoryError: pass",
    ),
    Attempt("an anonymous map", "import mmap\nx = mmap.mmap(-1, 30 << 30)", "OSError"),
    Attempt("an output flood", "while True: print('x' * 100000)", "limit:output"),
    Attempt(
        "an error flood", "import sys\nwhile True: sys.stderr.write('x' * 100000)", "limit:output"
    ),
    Attempt(
        "a flood of bytes",
        "import sys\nwhile True: sys.stdout.buffer.write(b'x' * 100000)",
        "limit:output",
    ),
    Attempt("writing to fd 1", "import os\nwhile True: os.write(1, b'x' * 1000)", "limit:time"),
    Attempt(
        "a large file",
        "with open('large', 'wb') as f:\n    while True: f.write(bytes(1 << 20))",
        "OSError",
        levels="AB",
    ),
    Attempt("many descriptors", "import os\nfds = [os.pipe() for _ in range(1000)]", "OSError"),
    Attempt("a large message", "echo('x' * (10 << 20))", "WireError"),
]

FORGE = """
import json, os, socket, struct, time
for fd in range(3, 64):
    try: channel = socket.socket(fileno=fd).detach()
    except OSError: pass
def forge(op, number, data, texts=b''):
    n = len(texts) // 8
    frame = struct.pack('!BIIIQ', op, number, len(data), n, len(texts) + len(data)) + texts + data
    while frame: frame = frame[os.write(channel, frame):]
def report(**changes):
    done = {'error': None, 'answer': None, 'variables': {}, 'stdout': ['', 0], 'stderr': ['', 0]}
    forge(17, 2, json.dumps(done | changes).encode())
    time.sleep(100)
"""
"""Writes frames itself. The block of an attempt is order number 2."""

BREAKAGE = [
    Attempt("os._exit", "import os\nos._exit(3)", "worker_lost"),
    Attempt("sys.exit", "import sys\nsys.exit(3)", "SystemExit"),
    Attempt("a segmentation fault", "import ctypes\nctypes.string_at(0)", "worker_lost"),
    Attempt("abort", "import os\nos.abort()", "worker_lost"),
    Attempt("deep recursion", "def f(): return f()\nf()", "RecursionError"),
    Attempt(
        "recursion without a limit",
        "import sys\nsys.setrecursionlimit(10**9)\ndef f(): return [f()]\nf()",
    ),
    Attempt(
        "recursion in C",
        "import sys\nsys.setrecursionlimit(10**9)\nx = []\nfor i in range(10**6): x = [x]\nrepr(x)",
    ),
    Attempt("closing all descriptors", "import os\nos.closerange(0, 1024)", "worker_lost"),
    Attempt(
        "garbage on the channel",
        "import os\nfor fd in range(3, 64):\n    try: os.write(fd, b'\\xff' * 100)\n"
        "    except OSError: pass\nimport time; time.sleep(5)",
        "worker_lost",
    ),
    Attempt(
        "reading from the channel",
        "import os\nfor fd in range(3, 64):\n    try: os.read(fd, 100)\n    except OSError: pass",
        "limit:time",
    ),
    Attempt(
        "replacing the channel by a file",
        "import os\nn = os.open('x', os.O_CREAT | os.O_RDWR)\nos.dup2(n, 63)\n"
        "for fd in range(3, 63): os.dup2(63, fd)",
        "worker_lost",
        levels="AB",
    ),
    Attempt(
        "signal handlers",
        "import signal\nfor s in signal.valid_signals():\n"
        "    try: signal.signal(s, signal.SIG_IGN)\n    except (OSError, ValueError): pass\n"
        "signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())\nwhile True: pass",
        "limit:time",
    ),
    Attempt(
        "an alarm", "import signal\nsignal.setitimer(signal.ITIMER_REAL, 0.001)\nwhile True: 1"
    ),
    Attempt(
        "a tracer",
        "import sys, threading\ndef t(*a): raise ValueError\n"
        "sys.settrace(t); threading.settrace(t)\n"
        "sys.setprofile(t)",
    ),
    Attempt(
        "patching the scaffold",
        "import builtins, sys, os, json, io, time, threading, traceback, linecache, codecs\n"
        "for name in ('print', 'len', 'str', 'type', 'isinstance', 'dict', 'list', 'open',\n"
        "             'compile', 'exec', '__import__', 'BaseException'):\n"
        "    setattr(builtins, name, None)\n"
        "sys.stdout = sys.stderr = None\nllm_query = SHOW_VARS = echo = None\n"
        "json.dumps = json.loads = os.write = os.read = os.writev = None\n"
        "json.JSONEncoder.encode = json.JSONDecoder.decode = None\n"
        "traceback.TracebackException = traceback.format_exception = None\n"
        "linecache.cache = None\ncodecs.utf_8_decode = None\ntime.time = None\n"
        "threading.Thread.start = None\nsys.modules.clear()",
    ),
    Attempt(
        "patching the scaffold's own objects",
        "import gc\nfor o in gc.get_objects():\n"
        "    if type(o).__name__ in ('Channel', 'Worker', 'Capture'):\n"
        "        o.__dict__.clear()",
    ),
    *(
        Attempt(f"a forged report with {name}", f"{FORGE}report({changes})", "worker_lost")
        for name, changes in (
            ("an answer of the wrong type", "answer=5"),
            ("an answer without its text", "answer={'value': 1, 'plain': True}"),
            ("an error of the wrong type", "error=[1]"),
            ("variables of the wrong type", "variables=7"),
        )
    ),
    Attempt("a forged report that is no dict", f"{FORGE}forge(17, 2, b'[1]')", "worker_lost"),
    Attempt(
        "a call of empty lists",  # 26 times as large once decoded
        f"{FORGE}forge(18, 1, b'[\"echo\",[' + b'[],' * 1000000 + b'0],{{}}]')\ntime.sleep(9)",
        "worker_lost",
    ),
    Attempt(
        "a call of empty texts",
        f"{FORGE}forge(18, 1, b'[\"echo\",[0],{{}}]', bytes(8 * 500000))\ntime.sleep(9)",
        "worker_lost",
    ),
    Attempt(
        "a call of lists inside lists",
        f"{FORGE}forge(18, 1, b'[\"echo\",[' + b'[' * 400 + b']' * 400 + b'],{{}}]')\n"
        "time.sleep(9)",
        "worker_lost",
    ),
    Attempt(
        "one text sent as many",
        f"{FORGE}t = b'x' * 1000\n"
        "data = b'[\"echo\",[' + b','.join([b'{\"$\":0}'] * 1000) + b'],{}]'\n"
        "frame = struct.pack('!BIIIQ', 18, 1, len(data), 1, 8 + len(data) + len(t))\n"
        "os.write(channel, frame + struct.pack('!Q', len(t)) + data + t)\ntime.sleep(9)",
        "worker_lost",
    ),
    Attempt(
        "calls whose replies are never read",
        f"{FORGE}while True: forge(18, 1, b'[\"echo\",[\"' + b'x' * 190 + b'\"],{{}}]')",
    ),
    Attempt(
        "a raising audit hook",
        "import sys\ndef hook(*a): raise ValueError\nsys.addaudithook(hook)",
        "RuntimeError",
    ),
    Attempt("killing itself", "import os\nos.kill(os.getpid(), 9)", "PermissionError"),
    Attempt("a deep value for the host", "x = []\nfor i in range(500): x = [x]\necho(x)"),
    Attempt("deleting everything", "globals().clear()"),
    Attempt(
        "a class that lies",
        "class M(type):\n    def __getattribute__(s, n): raise ValueError\n"
        "class L(metaclass=M):\n    def __getattribute__(s, n): raise ValueError\n"
        "    def __repr__(s): raise ValueError\nliar = L()\nraise Exception(liar)",
        "Exception",
    ),
    Attempt(
        "an exception that hangs when shown",
        "class E(Exception):\n    def __str__(s):\n        while True: pass\nraise E",
    ),
    Attempt(
        "a long-lived thread",
        "import threading\ndef burn():\n    while True: pass\n"
        "threading.Thread(target=burn, daemon=True).start()",
    ),
    Attempt(
        "a thread that stays when the block ends",
        "import threading, time\nthreading.Thread(target=time.sleep, args=(1000,)).start()",
    ),
]


class Host:
    """What there is to reach: a secret file, listeners, another REPL."""

    def __init__(self, stack: AsyncExitStack) -> None:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder.chmod(0o755)
        stack.callback(self.close)
        self.folder = folder / "host"
        self.folder.mkdir(mode=0o777)
        self.folder.chmod(0o777)
        secret = self.folder / "secret"
        secret.write_text("the secret")
        secret.chmod(0o666)
        self.tcp = socket.create_server(("127.0.0.1", 0))
        self.unix = socket.socket(socket.AF_UNIX)
        self.unix.bind(str(self.folder / "unix"))
        (self.folder / "unix").chmod(0o777)
        self.unix.listen()
        self.datagram = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.datagram.bind(str(self.folder / "datagram"))
        (self.folder / "datagram").chmod(0o777)
        self.datagram.setblocking(False)
        self.abstract = socket.socket(socket.AF_UNIX)
        stray = f"rlm-eval-escape-{secrets.token_hex(8)}"  # nobody else's, whoever tests beside us
        self.abstract.bind(f"\0{stray}")
        self.abstract.listen()
        os.environ["RLM_EVAL_CANARY"] = "canary"
        self.places: dict[str, Any] = {
            "secret": str(secret),
            "folder": str(self.folder),
            "package": str(sandbox.HERE.parent),
            "sites": [path for path in sys.path if "-packages" in path],
            "port": self.tcp.getsockname()[1],
            "unix": str(self.folder / "unix"),
            "datagram": str(self.folder / "datagram"),
            "pid": os.getpid(),
            "other_pid": os.getpid(),
            "other_scratch": "/nonexistent",
            "stray": stray,
        }

    def unharmed(self) -> bool:
        """Nothing was written, nothing arrived."""
        names = {path.name for path in self.folder.iterdir()}
        return (
            (self.folder / "secret").read_text() == "the secret"
            and names == {"secret", "unix", "datagram"}
            and not any(
                Path(folder, self.places["stray"]).exists()
                for folder in ("/tmp", "/var/tmp", "/dev/shm")
            )
        )

    def fill(self, code: str) -> str:
        """Put the places in."""
        for name, value in self.places.items():
            code = code.replace(f"@{name}@", repr(value))
        return code

    def close(self) -> None:
        """Close the listeners; leave no trace in this process."""
        os.environ.pop("RLM_EVAL_CANARY", None)
        for one in (self.tcp, self.unix, self.datagram, self.abstract):
            one.close()


async def echo(value: Any) -> Any:
    """A host function."""
    return value


async def offer_another(host: Host, pool: SandboxPool, stack: AsyncExitStack) -> None:
    """A second REPL, with something of its own, to be looked for."""
    other = await stack.enter_async_context(pool.open(None, {}))
    if pool.report.tier != "C":
        made = await other.run("import os\nopen('mine', 'w').write('x')\nprint(os.getcwd())")
        host.places["other_scratch"] = made.stdout.strip()
    host.places["other_pid"] = getattr(other._link, "pid", 1)


async def attempt(pool: SandboxPool, host: Host, one: Attempt) -> tuple[BlockResult, str]:
    """Run it in a REPL of its own: the result, and what is wrong ('' where it was held)."""
    async with pool.open("the context", {"echo": echo}, answer_dict=True) as repl:
        await repl.run("kept = [41]")
        result = await repl.run(host.fill(one.code))
        wrong = []
        if "ESCAPED" in result.stdout:
            wrong.append(result.stdout)
        if result.error != one.error and (one.error or one in ESCAPES):
            wrong.append(f"ended with {result.error} instead of {one.error}: {result.stderr}")
        if one.lost is not None and result.restored != one.lost:
            wrong.append(f"the worker was lost: {result.restored}")
        if not host.unharmed():
            wrong.append("the host was changed")
        if one.name != "deleting everything":
            after = await repl.run("kept.append(1)\nprint(kept[0] + len(kept), context, echo(7))")
            if after.stdout != "43 the context 7\n":
                wrong.append(f"the REPL did not go on: {after}")
        else:
            after = await repl.run("print(echo(7))")
            if after.stdout != "7\n":
                wrong.append(f"the REPL did not go on: {after}")
        return result, "; ".join(wrong)


def offered(level: str) -> str | None:
    """Why this machine does not offer a level; `None` where it does."""
    tier, _ = LEVELS[level]
    if tier == "A":
        return sandbox.bubblewrap_trouble(sandbox.bubblewrap())
    return "no Landlock" if tier == "B" and not landlock_abi() else None


async def main() -> None:
    """All attempts at all levels that can be had; prints {level: {attempt: what is wrong}}."""
    found: dict[str, Any] = {"user": os.geteuid()}
    for level, (tier, lacks) in LEVELS.items():
        if trouble := offered(level):
            found[level] = trouble
            continue
        try:
            async with AsyncExitStack() as stack:
                host = Host(stack)
                pool = await stack.enter_async_context(SandboxPool(CONFIG, tier, lacks))
                await offer_another(host, pool, stack)
                found[level] = await attempts(pool, host, tier)
        except SandboxError as error:
            found[level] = str(error)
    print(json.dumps(found))


async def attempts(pool: SandboxPool, host: Host, tier: str) -> dict[str, str]:
    """All that are meaningful in a tier, a few at a time: name -> what is wrong."""
    few = asyncio.Semaphore(6)

    async def run(one: Attempt) -> str:
        async with few:
            try:
                return (await attempt(pool, host, one))[1]
            except Exception:  # noqa: BLE001 - one's trouble must not end the pool under the others
                return traceback.format_exc()

    chosen = [one for one in ESCAPES + LIMITS + BREAKAGE if one.means_something(tier)]
    return dict(
        zip([one.name for one in chosen], await asyncio.gather(*map(run, chosen)), strict=True)
    )


async def controls() -> dict[str, bool]:
    """Without isolation: which of the harmless attempts do work."""
    async with AsyncExitStack() as stack:
        host = Host(stack)
        pool = await stack.enter_async_context(SandboxPool(CONFIG, "none"))
        await offer_another(host, pool, stack)
        chosen = [one for one in ESCAPES if one.control]
        return {one.name: "ESCAPED" in (await attempt(pool, host, one))[1] for one in chosen}


if __name__ == "__main__":
    asyncio.run(main())
