"""SIGTERM and SIGHUP as an interrupt, so that runs are closed and temporary folders removed."""

from __future__ import annotations

import os
import signal
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

ENDS = tuple(number for name in ("SIGTERM", "SIGHUP") if (number := getattr(signal, name, None)) is not None)
"""A scheduler's or `mlflow run`'s cancel, and the end of a terminal or of an ssh connection."""


@contextmanager
def signals_as_interrupt() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end the block as Ctrl-C does, so that runs are closed.

    Only the first one interrupts: a closed terminal often sends SIGHUP twice, and the second must not end the closing
    of the runs. What is ignored on purpose (`nohup`) stays ignored.
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
    """Interrupt once; a terminal that is gone takes no more output."""
    for each in ENDS:
        signal.signal(each, signal.SIG_IGN)
    if number == getattr(signal, "SIGHUP", None):
        _let_go_of_the_terminal()
    signal.default_int_handler(number, frame)


def _let_go_of_the_terminal() -> None:
    """Send what is still printed to a terminal nowhere: writing to one that is gone fails."""
    with suppress(OSError):
        nowhere = os.open(os.devnull, os.O_RDWR)
        for descriptor in (0, 1, 2):
            if stat.S_ISCHR(os.fstat(descriptor).st_mode):  # `isatty` is false once the terminal is gone
                os.dup2(nowhere, descriptor)
        os.close(nowhere)
