"""Two processes that need the same sweep, or the same device, at the same time."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from itertools import pairwise

import pytest
from mlflow.entities import Run

from frm_mlflow import schema
from tests.faults.process import HOST_VARIABLE, Command
from tests.faults.world import MODELS, Case, World

FEW = [0, pytest.param(1, marks=pytest.mark.slow)]
TWENTY = [pytest.param(number, marks=[] if number == 0 else pytest.mark.slow) for number in range(20)]


@pytest.mark.parametrize("number", TWENTY)
@pytest.mark.parametrize("hosts", [1, 2])
def test_two_resumes_at_once_measure_nothing_twice(hosts: int, number: int, world: World) -> None:
    case = world.case(f"two-resumes-on-{hosts}", number)
    killed_after_the_first_benchmark(case)
    if hosts == 2 and number % 2:  # the killed process was on a third host: both must wait for its lease to expire
        case.environ |= {HOST_VARIABLE: "here"}
    both = [case.sweep("resume=true"), case.elsewhere("resume=true") if hosts == 2 else case.sweep("resume=true")]
    codes = sorted(each.wait() for each in both)
    said = case.log.read_text()[-3000:]
    assert codes == [0, 2], said
    assert "still running" in said
    finished = [run for run in benchmarks(case) if run.info.status == "FINISHED"]
    assert Counter(run.data.tags[schema.MODEL.key] for run in finished) == Counter(MODELS), said
    assert len({run.data.tags["mlflow.parentRunId"] for run in finished}) == 1
    assert_one_after_the_other(finished)
    (sweep,) = [run for run in world.runs(case.name) if run.data.tags.get(schema.KIND.key) == schema.KIND_SWEEP]
    assert sweep.info.status == "FINISHED"
    assert not [key for key in sweep.data.tags if key.startswith(schema.LEASE_PREFIX)], "the lease is given back"


@pytest.mark.parametrize("number", FEW)
def test_a_second_sweep_waits_for_the_device(number: int, world: World) -> None:
    case = world.case("second-sweep-waits", number)
    both = [case.sweep(), case.elsewhere()]
    assert [each.wait() for each in both] == [0, 0], case.log.read_text()[-3000:]
    said = case.log.read_text()
    assert "Waiting for cpu: the sweep " in said
    assert "device.wait_s" in said
    finished = [run for run in benchmarks(case) if run.info.status == "FINISHED"]
    assert len(finished) == 4
    assert_one_after_the_other(finished)


def killed_after_the_first_benchmark(case: Case) -> None:
    sweep = case.sweep()
    deadline = time.monotonic() + 90
    while sorted(run.info.status for run in benchmarks(case)) != ["FINISHED", "RUNNING"]:
        assert time.monotonic() < deadline
        assert sweep.running, case.log.read_text()[-2000:]
        time.sleep(0.01)
    kill(sweep)


def kill(sweep: Command) -> None:
    os.killpg(sweep.pid, signal.SIGKILL)
    sweep.wait()


def benchmarks(case: Case) -> list[Run]:
    runs = case.world.runs(case.name)
    return [run for run in runs if run.data.tags.get(schema.KIND.key) == schema.KIND_BENCHMARK]


def assert_one_after_the_other(finished: list[Run]) -> None:
    spans = sorted((run.info.start_time, run.info.end_time) for run in finished)
    assert all(before[1] <= after[0] for before, after in pairwise(spans)), spans
