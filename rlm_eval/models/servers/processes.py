"""Ports and processes of this machine, as managed servers need them."""

from __future__ import annotations

import socket


def free_port(host: str) -> int:
    """A port of this address that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        port: int = probe.getsockname()[1]
        return port


def answers(host: str, port: int) -> bool:
    """Whether a program listens there."""
    with socket.socket() as probe:
        return probe.connect_ex((host, port)) == 0


def kill_tree(pid: int) -> None:
    """Kill a process and all that it started."""
    import psutil

    try:
        parent = psutil.Process(pid)
        doomed = [*parent.children(recursive=True), parent]
    except psutil.NoSuchProcess:
        return
    for process in doomed:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue
