"""The tests' own search for a process, beside one that has ended and that nobody has collected."""

import os
import subprocess
import sys

import psutil
import pytest

from tests.support.processes import command, running


@pytest.fixture
def zombie():
    process = subprocess.Popen([sys.executable, "-c", "'a zombie'"])
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # it has ended and is not collected
    yield psutil.Process(process.pid)
    process.wait()


def test_a_zombie_has_no_command_line_and_hides_no_other(zombie):
    assert zombie.status() == psutil.STATUS_ZOMBIE
    with pytest.raises(psutil.ZombieProcess):
        zombie.cmdline()
    assert command(zombie) == []
    this = psutil.Process()
    assert running([zombie, this], "python") == this
    with pytest.raises(LookupError, match="no process with 'nowhere'"):
        running([zombie, this], "nowhere")
