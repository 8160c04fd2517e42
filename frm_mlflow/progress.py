"""Progress display of a sweep: a bar in a terminal, otherwise one line per benchmark."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from frm_mlflow.escape import visible
from frm_mlflow.terminal import WordsColumn, terminal

Update = Callable[[str], None]
"""Called with a description of the current step."""


def console() -> Console:
    """Return the console for human-readable output: stderr, so that stdout is reserved for `json=true`."""
    return terminal(stderr=True)


@dataclass
class SweepProgress:
    """Progress over the benchmarks of a sweep."""

    total: int
    out: Console
    clock: Callable[[], float] = time.monotonic
    _bar: Progress | None = None
    _task: TaskID | None = None
    _done: int = 0
    _started: float = 0.0

    @contextmanager
    def running(self) -> Iterator[SweepProgress]:
        """Show the bar, if in a terminal, until the body is left."""
        if not self.out.is_terminal:
            yield self
            return
        columns = (SpinnerColumn(), WordsColumn(), BarColumn(), MofNCompleteColumn())
        with Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=self.out) as bar:
            self._bar, self._task = bar, bar.add_task("", total=self.total)
            try:
                yield self
            finally:
                self._bar = None

    def start(self, label: str) -> Update:
        """Begin a benchmark; return the function that reports its steps."""
        self._started = self.clock()

        def update(step: str) -> None:
            if self._bar is not None and self._task is not None:
                self._bar.update(self._task, description=visible(f"{label}: {step}"))

        update("starting")
        return update

    def finish(self, line: str, *, seconds: float | None = None) -> None:
        """End a benchmark with a permanent line; `seconds` if another process ran it, 0 if it took no time at all."""
        self._done += 1
        took = self.clock() - self._started if seconds is None else seconds
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=self._done)
        ending = f" ({took:.0f} s)" if took else ""
        text = f"[{self._done}/{self.total}] {line}{ending}"
        self.out.print(text, markup=False, highlight=False, soft_wrap=True)


Count = Callable[..., None]
"""Called with the number done, the total, and optionally a description of the current step."""


def _uncounted(*_: object) -> None:
    """Do nothing, in place of a bar outside a terminal."""


@contextmanager
def counting(label: str, *, out: Console) -> Iterator[Count]:
    """Show a bar with the remaining time, if in a terminal, for work that counts its steps."""
    if not out.is_terminal:
        yield _uncounted
        return
    columns = (SpinnerColumn(), WordsColumn(), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=out, transient=True) as bar:
        task = bar.add_task(label, total=None)

        def update(done: int, total: int | None, step: str = "") -> None:
            bar.update(task, completed=done, total=total, description=f"{label}: {step}" if step else label)

        yield update
