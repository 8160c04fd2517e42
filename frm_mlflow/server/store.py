"""Snapshots by experiments: read in the background, cached for each version of the data.

The first read of many runs takes as long as MLflow takes to respond. A request never waits for
it: it gets the progress, and the snapshot once there is one. An outdated snapshot is
still returned immediately while the next one is being read.
"""

from __future__ import annotations

import gc
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

import pandas as pd

from frm_mlflow import redact
from frm_mlflow.errors import FrmError
from frm_mlflow.report.snapshot import Snapshot, prepare

Experiments: TypeAlias = tuple[str, ...]
"""Ids of experiments."""

_logger = redact.logger(__name__)


class Read(Protocol):
    """Reads the benchmarks of experiments: a tidy frame and the digest of its content."""

    def __call__(self, experiments: Experiments, *, on_progress: Callable[[int], None]) -> tuple[pd.DataFrame, str]:
        """Return the frame and its digest; `on_progress` is called with the number of runs read so far."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """A first read in progress, and the number of runs read so far."""

    runs: int


@dataclass(slots=True)
class _Entry:
    snapshot: Snapshot | None = None
    read_at: float = 0.0
    asked_at: float = 0.0
    error: FrmError | None = None
    runs: int = 0
    answered: threading.Event = field(default_factory=threading.Event)
    thread: threading.Thread | None = None


class Store:
    """Keeps the newest snapshot of each set of experiments that users look at.

    Parameters
    ----------
    read
        Reads the benchmarks.
    fresh_s
        A snapshot older than this is read again in the background.
    patience_s
        How long a request waits for a first read before it returns the progress.
    calm_s
        The next read starts after this long without requests, and after `fresh_s` at the latest, because
        reading slows down the responses to a user who is changing filters.
    capacity
        Number of sets of experiments that are kept; the least recently used one is dropped first.
    """

    def __init__(
        self,
        read: Read,
        *,
        fresh_s: float = 30.0,
        patience_s: float = 1.0,
        calm_s: float = 0.0,
        capacity: int = 8,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._read = read
        self._fresh_s = fresh_s
        self._patience_s = patience_s
        self._calm_s = calm_s
        self._capacity = capacity
        self._clock = clock
        self._entries: OrderedDict[Experiments, _Entry] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, experiments: Experiments) -> Snapshot | Reading:
        """Return the snapshot of `experiments`, or the progress of its first read.

        Raises
        ------
        FrmError
            If the last read failed; the next request tries again.
        """
        entry = self._entry(experiments)
        entry.answered.wait(self._patience_s)
        if entry.snapshot is not None:
            return entry.snapshot
        if entry.error is not None:
            raise entry.error
        return Reading(runs=entry.runs)

    def _entry(self, experiments: Experiments) -> _Entry:
        with self._lock:
            entry = self._entries.setdefault(experiments, _Entry())
            self._entries.move_to_end(experiments)
            while len(self._entries) > self._capacity:
                self._entries.popitem(last=False)
            entry.asked_at = self._clock()
            old = entry.asked_at - entry.read_at > self._fresh_s
            idle = entry.thread is None or not entry.thread.is_alive()
            if idle and (entry.snapshot is None or old):
                if entry.snapshot is None:
                    entry.answered.clear()
                entry.error = None
                entry.thread = threading.Thread(target=self._refresh, args=(experiments, entry), daemon=True)
                entry.thread.start()
            return entry

    def _refresh(self, experiments: Experiments, entry: _Entry) -> None:
        def progress(runs: int) -> None:
            entry.runs = runs

        if entry.snapshot is not None:
            self._wait_for_calm(entry)
        try:
            frame, digest = self._read(experiments, on_progress=progress)
            if entry.snapshot is None or entry.snapshot.digest != digest:
                entry.snapshot = prepare(frame, digest=digest)
                _spare_the_collector()
            entry.read_at = self._clock()
        except FrmError as error:
            entry.error = error
        except Exception as error:
            _logger.exception("reading the benchmarks of %s failed", ", ".join(experiments))
            entry.error = FrmError(f"the benchmarks could not be read ({error}); details are in the server's log")
        finally:
            entry.answered.set()

    def _wait_for_calm(self, entry: _Entry) -> None:
        at_most = self._clock() + self._fresh_s
        while (now := self._clock()) < at_most and now - entry.asked_at < self._calm_s:
            time.sleep(min(self._calm_s, 0.2))


def _spare_the_collector() -> None:
    """Exclude long-lived objects from garbage collection: traversing them all delays requests by 0.2 s."""
    gc.unfreeze()
    gc.collect()
    gc.freeze()
