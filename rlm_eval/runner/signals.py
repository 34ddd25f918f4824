"""Early stop of a run: Ctrl-C, a spent budget, or a cluster's warning before it ends the job.

On the first request, a run finishes the samples in flight and starts no more; Ctrl-C also ends the
samples that only wait (back-off, a rate limit, a lost endpoint). On the second, or when the
warning's time is over, it is cancelled: every finished call is in the journal by then.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

from rlm_eval.models.waiting import Interrupt


@dataclass(frozen=True)
class Signals:
    """Signals that stop a run early: Ctrl-C, SIGTERM, and the cluster's warning."""

    warning: int | None = None
    """The signal that a cluster sends before it ends a job; `None` = no cluster."""
    grace: float = 60.0
    """Seconds for the samples in flight after the warning."""


class StopRequest:
    """A stop request shared by the run's workers."""

    def __init__(self, note: Callable[[str], None]) -> None:
        """`note` prints a message to the user."""
        self._note = note
        self.interrupt = Interrupt()
        """Interrupts waiting calls."""
        self.asked = False
        """True once a stop was requested: no further sample is started."""
        self.signal: int | None = None
        """The signal (Ctrl-C, SIGTERM) that stopped the run early; `None` = none."""
        self.warned = False
        """True if the cluster is about to end the job: it must be requeued."""

    def ask(self, why: str) -> None:
        """Stop the run after the samples in flight. Only the first reason is printed."""
        if not self.asked:
            self.asked = True
            self._note(why)

    @contextmanager
    def signals(self, signals: Signals | None) -> Iterator[None]:
        """Handle Ctrl-C, SIGTERM and a cluster's warning while the run lasts.

        `None` handles none: the calling program keeps its own handlers.
        """
        if signals is None:
            yield
            return
        warning, grace = signals.warning, signals.grace
        loop, main = asyncio.get_running_loop(), asyncio.current_task()
        assert main is not None
        timers: list[asyncio.TimerHandle] = []

        def interrupted(number: int) -> None:
            again, self.signal = self.asked, number
            if again:
                main.cancel()
            else:
                self.ask("stopping after the samples in flight; Ctrl-C again stops at once")
                self.interrupt.ask()

        def about_to_end() -> None:
            self.warned = True
            self.ask(f"this job ends soon: the samples in flight have {grace:.0f} s")
            timers.append(loop.call_later(grace, main.cancel))

        handlers: dict[signal.Signals, Callable[[], None]] = {
            number: partial(interrupted, number) for number in (signal.SIGINT, signal.SIGTERM)
        }
        if warning is not None:
            handlers[signal.Signals(warning)] = about_to_end
        for number, handler in handlers.items():
            loop.add_signal_handler(number, handler)
        try:
            yield
        finally:
            for number in handlers:
                loop.remove_signal_handler(number)
            for timer in timers:
                timer.cancel()
