"""Ports and processes of this machine, for managed servers."""

from __future__ import annotations

import socket


def free_port(host: str) -> int:
    """Return a port of this address that is free now."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        port: int = probe.getsockname()[1]
        return port


def answers(host: str, port: int) -> bool:
    """Return whether a program listens there."""
    with socket.socket() as probe:
        return probe.connect_ex((host, port)) == 0


def kill_tree(pid: int) -> None:
    """Kill a process and all its descendants."""
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
