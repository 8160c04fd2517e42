"""Only one process at a time runs a sweep, however the requests of competing processes interleave."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
import time
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from frm_mlflow import schema
from frm_mlflow.errors import ConfigError
from frm_mlflow.tracking import lease as leases
from frm_mlflow.tracking.lease import EXPIRES_S, HAS, Lease, LeaseLostError, Owner


class Tags:
    """A server that stores one run's tags and is sometimes slow."""

    tracking_uri = "sqlite://"

    def __init__(self, seed: int) -> None:
        self.tags: dict[str, str] = {}
        self._lock = threading.Lock()
        self._rng = random.Random(seed)

    def _now(self) -> Any:
        time.sleep(self._rng.uniform(0, 0.002))
        return self._lock

    def get_run(self, run_id: str) -> Any:
        with self._now():
            return SimpleNamespace(data=SimpleNamespace(tags=dict(self.tags)))

    def set_tag(self, run_id: str, key: str, value: str) -> None:
        with self._now():
            self.tags[key] = value

    def delete_tag(self, run_id: str, key: str) -> None:
        with self._now():
            self.tags.pop(key, None)


class Clock:
    """A clock that advances only by sleeping; `each` is called every second."""

    def __init__(self, each: Any = lambda: None) -> None:
        self.now = 0.0
        self.each = each

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.each()


def dead_process() -> str:
    child = subprocess.Popen([sys.executable, "-c", ""])
    started = psutil.Process(child.pid).create_time()
    child.wait()
    return f"{child.pid} {started:.2f}"


def elsewhere(state: str = HAS) -> Owner:
    return Owner("far", "7 1.00", "another kernel", state)


def acquire(lease: Lease, clock: Clock | None = None, seed: int = 0) -> list[str]:
    told: list[str] = []
    clock = clock or Clock()
    lease.acquire(tell=told.append, clock=clock, sleep=clock.sleep, rng=random.Random(seed))
    return told


def contend(server: Tags, barrier: threading.Barrier, seed: str, winners: list[Lease], losers: list[Lease]) -> None:
    mine = Lease(server, "run")
    barrier.wait()
    try:
        mine.acquire(tell=lambda _: None, sleep=lambda seconds: time.sleep(seconds / 50), rng=random.Random(seed))
    except ConfigError:
        losers.append(mine)
    else:
        winners.append(mine)


def test_of_many_that_start_together_one_gets_the_lease() -> None:
    dead = replace(Owner.here(), process=dead_process(), state=HAS)
    for seed in range(25):
        server, barrier = Tags(seed), threading.Barrier(4)
        server.tags[f"{schema.LEASE_PREFIX}dead"] = dead.text()
        winners, losers = [], []
        threads = [
            threading.Thread(target=contend, args=(server, barrier, f"{seed}/{number}", winners, losers))
            for number in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert (len(winners), len(losers)) == (1, 3)
        assert list(server.tags) == [winners[0].key], "the dead owner's tag and the losers' are gone"


def test_a_live_owner_here_is_refused_at_once_and_a_dead_one_replaced() -> None:
    server = Tags(0)
    holder = Lease(server, "run")
    acquire(holder)
    with pytest.raises(ConfigError, match=f"still running as process {os.getpid()} on"):
        acquire(Lease(server, "run"))
    assert list(server.tags) == [holder.key]
    server.tags[holder.key] = replace(holder.owner, process=dead_process()).text()
    second = Lease(server, "run")
    assert acquire(second) == [], "nothing to wait for"
    assert list(server.tags) == [second.key]


def test_an_owner_elsewhere_is_replaced_after_it_expired() -> None:
    server, clock = Tags(0), Clock()
    server.tags[f"{schema.LEASE_PREFIX}far"] = elsewhere().text()
    mine = Lease(server, "run")
    (told,) = acquire(mine, clock)
    assert "process 7 on far" in told
    assert EXPIRES_S <= clock.now <= EXPIRES_S + 2
    assert list(server.tags) == [mine.key]


def test_an_owner_elsewhere_that_renews_is_never_replaced() -> None:
    server = Tags(0)
    key = f"{schema.LEASE_PREFIX}far"
    beats = iter(range(1, 10_000))

    def renew() -> None:
        if (beat := next(beats)) % 40 == 0:
            server.tags[key] = replace(elsewhere(), beat=beat).text()

    server.tags[key] = elsewhere().text()
    with pytest.raises(ConfigError, match="process 7 on far"):
        acquire(Lease(server, "run"), Clock(renew))
    assert list(server.tags) == [key]


def test_an_owner_that_was_replaced_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "BEAT_S", 0.02)
    server = Tags(0)
    mine = Lease(server, "run")
    acquire(mine)
    with mine.kept():
        time.sleep(0.2)
        mine.check()
        assert Owner.read(server.tags[mine.key]).beat > 3, "it is renewed"
        server.tags[f"{schema.LEASE_PREFIX}far"] = elsewhere().text()
        time.sleep(0.2)
        with pytest.raises(LeaseLostError, match="process 7 on far has taken over"):
            mine.check()


@pytest.mark.parametrize("text", ["", "null", "[]", "{}", "[" * 100_000, '{"host": 1}'])
def test_a_tag_that_cannot_be_read_counts_as_an_owner_elsewhere(text: str) -> None:
    assert not Owner.read(text).is_here
