"""`kill -9` of a whole sweep: only a resume can close the open runs, and it measures only what is missing."""

from __future__ import annotations

import os
import signal
import time

from mlflow.entities import Run

from frm_mlflow import schema
from tests.faults.process import stragglers
from tests.faults.world import Case, World


def test_a_living_sweep_is_left_alone_and_a_killed_one_is_completed(world: World) -> None:
    case = world.case("resumed", 0)
    sweep = case.sweep()
    try:
        deadline = time.monotonic() + 60
        while statuses(case) != ["FINISHED", "RUNNING"]:
            assert time.monotonic() < deadline
            assert sweep.running, case.log.read_text()[-2000:]
            time.sleep(0.01)
        sweep.send(signal.SIGSTOP)  # it stays alive but makes no progress while the other process checks

        assert case.ended(case.sweep("resume=true")) == 2
        assert f"as process {sweep.pid}" in case.log.read_text()
        assert statuses(case) == ["FINISHED", "RUNNING"]
    finally:
        os.killpg(sweep.pid, signal.SIGKILL)
        sweep.wait()
    before = {run.info.run_id: run.info.status for run in benchmarks(case)}
    assert sorted(before.values()) == ["FINISHED", "RUNNING"]

    assert case.ended(case.sweep("resume=true")) == 0, case.log.read_text()[-2000:]

    after = benchmarks(case)
    assert statuses(case) == ["FINISHED", "FINISHED", "KILLED"]
    assert [run.data.tags["frm.model"] for run in after if run.info.run_id not in before] == ["tiny_a"]
    orphan = next(run for run in after if run.info.status == "KILLED")
    assert before[orphan.info.run_id] == "RUNNING"
    assert "resumed" in orphan.data.tags["frm.reason"]
    assert len({run.data.tags["mlflow.parentRunId"] for run in after}) == 1
    assert not stragglers(case.name)


def benchmarks(case: Case) -> list[Run]:
    runs = case.world.runs(case.name)
    return [run for run in runs if run.data.tags.get(schema.KIND.key) == schema.KIND_BENCHMARK]


def statuses(case: Case) -> list[str]:
    return sorted(run.info.status for run in benchmarks(case))
