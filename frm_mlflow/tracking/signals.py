"""SIGTERM and SIGHUP handled as an interrupt, so that runs are closed and temporary folders removed."""

from __future__ import annotations

import os
import signal
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

ENDS = tuple(number for name in ("SIGTERM", "SIGHUP") if (number := getattr(signal, name, None)) is not None)
"""Sent when a scheduler or `mlflow run` cancels, and when a terminal or an ssh connection closes."""


@contextmanager
def signals_as_interrupt() -> Iterator[None]:
    """Make SIGTERM and SIGHUP end the block as Ctrl-C does, so that runs are closed.

    Only the first signal interrupts: a closed terminal often sends SIGHUP twice, and the second must not interrupt
    the closing of the runs. Signals that are ignored on purpose (`nohup`) stay ignored.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handlers = {number: signal.getsignal(number) for number in ENDS}
    before = {n: handler for n, handler in handlers.items() if handler not in (signal.SIG_IGN, _interrupt, None)}
    for number in before:
        signal.signal(number, _interrupt)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _interrupt(number: int, frame: FrameType | None) -> None:
    """Interrupt once; if the terminal has been closed, stop writing to it."""
    for each in ENDS:
        signal.signal(each, signal.SIG_IGN)
    if number == getattr(signal, "SIGHUP", None):
        _let_go_of_the_terminal()
    signal.default_int_handler(number, frame)


def _let_go_of_the_terminal() -> None:
    """Redirect the streams of a closed terminal to the null device: writing to them fails."""
    with suppress(OSError):
        nowhere = os.open(os.devnull, os.O_RDWR)
        for descriptor in (0, 1, 2):
            if stat.S_ISCHR(os.fstat(descriptor).st_mode):  # `isatty` is false once the terminal is closed
                os.dup2(nowhere, descriptor)
        os.close(nowhere)
