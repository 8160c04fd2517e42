"""What a person sees while a sweep runs: a bar in a terminal, one line a benchmark elsewhere."""

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
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

Update = Callable[[str], None]
"""Takes what is being done now."""


PIPE_WIDTH = 120
"""Columns where nobody's terminal says how many there are."""


def console() -> Console:
    """Return the console for people: stderr, so that stdout stays for `json=true`."""
    out = Console(stderr=True)
    return out if out.is_terminal else Console(stderr=True, width=PIPE_WIDTH)


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
        """Show the bar, in a terminal, until the body is left."""
        if not self.out.is_terminal:
            yield self
            return
        columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
        with Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=self.out) as bar:
            self._bar, self._task = bar, bar.add_task("", total=self.total)
            try:
                yield self
            finally:
                self._bar = None

    def start(self, label: str) -> Update:
        """Begin a benchmark; returns what reports the steps within it."""
        self._started = self.clock()

        def update(step: str) -> None:
            if self._bar is not None and self._task is not None:
                self._bar.update(self._task, description=f"{label}: {step}")

        update("starting")
        return update

    def finish(self, line: str, *, seconds: float | None = None) -> None:
        """End a benchmark with one line that stays; `seconds` where another process took them, 0 for none at all."""
        self._done += 1
        took = self.clock() - self._started if seconds is None else seconds
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=self._done)
        ending = f" ({took:.0f} s)" if took else ""
        text = f"[{self._done}/{self.total}] {line}{ending}"
        self.out.print(text, markup=False, highlight=False, soft_wrap=True)


Count = Callable[..., None]
"""Takes how many are done, of how many, and optionally what is being done."""


def _uncounted(*_: object) -> None:
    """Take the place of a bar where nobody watches."""


@contextmanager
def counting(label: str, *, out: Console) -> Iterator[Count]:
    """Show a bar with the time left, in a terminal, for work that counts its steps."""
    if not out.is_terminal:
        yield _uncounted
        return
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=out, transient=True) as bar:
        task = bar.add_task(label, total=None)

        def update(done: int, total: int | None, step: str = "") -> None:
            bar.update(task, completed=done, total=total, description=f"{label}: {step}" if step else label)

        yield update
