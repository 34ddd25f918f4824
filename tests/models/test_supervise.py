"""Nothing that a server started is left, whatever it looks like while it ends."""

import subprocess
import sys
from pathlib import Path

import psutil
import pytest

SERVER = """
import ctypes, os, signal, sys, threading, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
def linger():
    time.sleep(1.5)
    os._exit(0)
threading.Thread(target=linger).start()
open(sys.argv[1], "w").write(str(os.getpid()))
ctypes.CDLL(None).pthread_exit(0)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only there a first thread can end alone")
def test_a_process_whose_first_thread_ended_is_waited_for(tmp_path: Path) -> None:
    """It has a zombie's state and cannot be collected before its other threads have ended."""
    told = tmp_path / "pid"
    folder = tmp_path / "folder"
    folder.mkdir()
    command = [sys.executable, "-m", "rlm_eval.models.supervise", str(folder), "--"]
    command += [sys.executable, "-c", SERVER, str(told)]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as supervisor:
        while not (told.exists() and told.read_text()):
            assert supervisor.poll() is None
        server = psutil.Process(int(told.read_text()))
        while server.status() != psutil.STATUS_ZOMBIE:
            assert supervisor.poll() is None
        assert supervisor.stdin is not None
        supervisor.stdin.close()
        supervisor.wait(timeout=30)
        assert not server.is_running()
