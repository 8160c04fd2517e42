"""Work that takes longer than a request may: done once in the background, and cached."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as StillBusy
from typing import Generic, TypeVar

V = TypeVar("V")


class Once(Generic[V]):
    """Computes a value for each key once, one after the other, and caches the most recently used ones."""

    def __init__(self, *, patience_s: float = 1.0, capacity: int = 16) -> None:
        self._patience_s = patience_s
        self._capacity = capacity
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="frm-once")
        self._values: OrderedDict[Hashable, Future[V]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Hashable, compute: Callable[[], V]) -> V | None:
        """Return the value of `key`, or None while it is being computed.

        An error of `compute` is raised here and then discarded: the next request tries again.
        """
        with self._lock:
            future = self._values.get(key) or self._pool.submit(compute)
            self._values[key] = future
            self._values.move_to_end(key)
            while len(self._values) > self._capacity:
                self._values.popitem(last=False)[1].cancel()
        try:
            return future.result(self._patience_s)
        except StillBusy:
            return None
        except Exception:
            with self._lock:
                self._values.pop(key, None)
            raise
