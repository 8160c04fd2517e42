"""`hydra/launcher=frm_slurm` on a real Slurm: one job array per device, and a node that dies does not hang anything."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from itertools import pairwise

import psutil
import pytest

from frm_mlflow import schema
from frm_mlflow.launcher.slurm_queue import FORGOTTEN, JobState, parsed
from tests.fleet.slurm_cluster import Cluster, missing, running_slurm
from tests.fleet.small_fleet import BASELINE, Lab, make_lab

DEVICES = ("cpu_a", "cpu_b", "cpu_c")
MODELS = ("net1", "net2")
NODE_OF = {"cpu_a": "node-a", "cpu_b": "node-b"}


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory, mlflow_server: str) -> Lab:
    return make_lab(tmp_path_factory.mktemp("slurm"), mlflow_server, devices=DEVICES, models=len(MODELS))


@pytest.fixture(scope="module")
def cluster(lab: Lab) -> Iterator[Cluster]:
    pytest.importorskip("submitit", reason="a fleet needs the extra [fleet]")
    if absent := missing():
        pytest.skip(f"a real Slurm needs Debian's slurm-wlm and munge: {', '.join(absent)} are missing")
    if os.geteuid() != 0:
        pytest.skip("slurmd runs jobs for others, which needs root")
    with running_slurm({node: [device] for device, node in NODE_OF.items()}, environ=lab.environ) as cluster:
        yield cluster


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_devices_are_arrays_and_a_node_that_dies_hangs_nothing(lab: Lab, cluster: Cluster) -> None:
    jobs = ("-m", "hydra/launcher=frm_slurm", f"device={','.join(DEVICES)}", f"model={','.join(MODELS)}")
    jobs = (*jobs, "tracking.experiment=slurm", "hydra.launcher.look_every_s=1")
    environ = {**os.environ, **lab.environ, **cluster.environ}
    command = lab.command(*jobs)
    with subprocess.Popen(command, env=environ, stderr=subprocess.PIPE, text=True, cwd=lab.folder) as process:
        deadline = time.monotonic() + 400
        while not any(run.data.tags["frm.device"] == "cpu_b" for run in lab.runs("slurm")):
            assert process.poll() is None, process.stderr.read()
            assert time.monotonic() < deadline
            time.sleep(0.3)
        _power_off(cluster, "node-b")
        _, said = process.communicate(timeout=400)

    assert process.returncode == 1, said
    runs = lab.runs("slurm")
    refused = [run for run in runs if run.data.tags["frm.device"] == "cpu_c"]
    assert len(refused) == len(MODELS)
    assert all("Invalid feature" in run.data.tags["frm.reason"] for run in refused)
    lost = [run for run in runs if run.data.tags["frm.device"] == "cpu_b" and run.info.status != "FINISHED"]
    assert lost
    reasons = [run.data.tags["frm.reason"] for run in lost]
    assert all("Slurm reports" in reason for reason in reasons), reasons
    assert "RUNNING" not in {run.info.status for run in runs}
    finished = [run for run in runs if run.info.status == "FINISHED"]
    on_a = sorted(run.data.tags["frm.model"] for run in finished if run.data.tags["frm.device"] == "cpu_a")
    assert on_a == [BASELINE, *MODELS]
    # What the job itself saw: slurmd gives every job the name of its node.
    assert all(run.data.tags[schema.FLEET_NODE.key] == NODE_OF[run.data.tags["frm.device"]] for run in finished)
    spans = sorted(
        (run.info.start_time, run.info.end_time) for run in finished if run.data.tags["frm.device"] == "cpu_a"
    )
    assert all(later[0] >= earlier[1] for earlier, later in pairwise(spans))


@pytest.mark.parametrize(
    ("line", "job_id", "expected"),
    [
        ("7|1|RUNNING|node-a|None", "7_1", JobState("RUNNING", "None", "node-a")),
        ("8|N/A|OUT_OF_MEMORY|node-b|OutOfMemory", "8", JobState("OUT_OF_MEMORY", "OutOfMemory", "node-b")),
    ],
)
def test_what_squeue_prints_is_read(line: str, job_id: str, expected: JobState) -> None:
    assert parsed(line) == {job_id: expected}


@pytest.mark.parametrize(
    ("state", "reason", "over", "stuck"),
    [
        ("RUNNING", "None", False, False),
        ("PENDING", "Resources", False, False),
        ("PENDING", "ReqNodeNotAvail, UnavailableNodes:node-b", False, True),
        ("NODE_FAIL", "None", True, False),
        ("TIMEOUT", "TimeLimit", True, False),
        (FORGOTTEN, "", True, False),
    ],
)
def test_a_job_is_over_when_the_scheduler_says_so(state: str, reason: str, over: bool, stuck: bool) -> None:
    found = JobState(state, reason)
    assert (found.is_over, found.cannot_start) == (over, stuck)


def _power_off(cluster: Cluster, node: str) -> None:
    """End a node's daemon and all its processes."""
    cluster.stop(node)
    for process in psutil.process_iter():
        with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            seen = process.environ()
            if seen.get("SLURMD_NODENAME") == node and seen.get("SLURM_CONF") == cluster.environ["SLURM_CONF"]:
                process.kill()
