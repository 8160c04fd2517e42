from __future__ import annotations

import threading
from collections.abc import Callable

import pandas as pd
import pytest

from frm_mlflow.errors import FrmError, TrackingError
from frm_mlflow.report.snapshot import Snapshot
from frm_mlflow.server.store import Reading, Store
from tests.unit.server.conftest import PHONE, benchmarks

ONE = ("frm",)


class Source:
    """A source that blocks until released, and counts how often it is read."""

    def __init__(self) -> None:
        self.reads = 0
        self.digest = "1"
        self.may_go = threading.Event()
        self.may_go.set()
        self.error: Exception | None = None

    def __call__(self, experiments: tuple[str, ...], *, on_progress: Callable[[int], None]) -> tuple[pd.DataFrame, str]:
        assert experiments
        self.reads += 1
        on_progress(3)
        assert self.may_go.wait(30)
        if self.error:
            raise self.error
        return benchmarks(PHONE), self.digest


def wait_for(condition: Callable[[], bool]) -> None:
    for _ in range(3000):
        if condition():
            return
        threading.Event().wait(0.01)
    raise AssertionError("it never came")


def test_a_snapshot_is_read_once_while_it_is_fresh() -> None:
    source = Source()
    store = Store(source, patience_s=30, clock=lambda: 1000.0)
    assert store.get(ONE) is store.get(ONE)
    assert source.reads == 1


def test_a_slow_first_read_answers_with_its_progress() -> None:
    source = Source()
    source.may_go.clear()
    store = Store(source, patience_s=0.01)
    wait_for(lambda: store.get(ONE) == Reading(runs=3))
    source.may_go.set()
    wait_for(lambda: isinstance(store.get(ONE), Snapshot))
    assert source.reads == 1


def test_an_old_snapshot_is_answered_while_the_next_one_is_read() -> None:
    source, now = Source(), [1000.0]
    store = Store(source, patience_s=30, fresh_s=5, clock=lambda: now[0])
    first = store.get(ONE)
    source.may_go.clear()
    source.digest = "2"
    now[0] += 6
    assert store.get(ONE) is first
    source.may_go.set()
    wait_for(lambda: store.get(ONE) is not first)
    assert source.reads == 2


def test_data_that_did_not_change_keep_their_snapshot() -> None:
    source, now = Source(), [1000.0]
    store = Store(source, patience_s=30, fresh_s=5, clock=lambda: now[0])
    first = store.get(ONE)
    now[0] += 6
    store.get(ONE)
    wait_for(lambda: source.reads == 2)
    assert store.get(ONE) is first


@pytest.mark.parametrize("error", [TrackingError("the server is away"), RuntimeError("the server is away")])
def test_an_error_is_told_and_the_next_request_tries_again(error: Exception) -> None:
    source = Source()
    source.error = error
    store = Store(source, patience_s=30)
    with pytest.raises(FrmError, match="the server is away"):
        store.get(ONE)
    source.error = None
    assert isinstance(store.get(ONE), Snapshot)


def test_the_least_recently_used_experiments_are_forgotten() -> None:
    source = Source()
    store = Store(source, patience_s=30, capacity=2, clock=lambda: 1000.0)
    for name in ("a", "b", "a", "c", "a"):
        store.get((name,))
    assert source.reads == 3
    store.get(("b",))
    assert source.reads == 4


def test_reading_again_waits_until_nobody_asks() -> None:
    source, now = Source(), [1000.0]
    store = Store(source, patience_s=30, fresh_s=5, calm_s=0.1, clock=lambda: now[0])
    store.get(ONE)
    now[0] += 6
    for _ in range(3):
        store.get(ONE)
        threading.Event().wait(0.05)
    assert source.reads == 1
    now[0] += 0.2
    wait_for(lambda: source.reads == 2)


def test_constant_requests_do_not_delay_rereading_for_ever() -> None:
    source, now = Source(), [1000.0]
    store = Store(source, patience_s=30, fresh_s=5, calm_s=3600, clock=lambda: now[0])
    store.get(ONE)
    now[0] += 6
    store.get(ONE)
    now[0] += 6
    store.get(ONE)
    wait_for(lambda: source.reads == 2)
