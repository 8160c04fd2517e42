"""`hydra/launcher=frm_ray` on three real Ray nodes: right host, one job at a time, nothing lost when a node dies."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import combinations, pairwise
from pathlib import Path

import pytest
from mlflow.entities import Run

from benchmarks.ray_nodes import Fleet, processes_of, running_fleet
from frm_mlflow import schema
from tests.fleet.small_fleet import BASELINE, FRM_MLFLOW, Lab, make_lab

pytest.importorskip("ray", reason="a fleet needs the extra [fleet]")

DEVICES = ("cpu_a", "cpu_b", "cpu_c")
MODELS = ("net1", "net2", "net3", "net4")
NUMBER_OF_NODE = {"cpu_a": "1", "cpu_b": "2", "cpu_c": "3"}


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory, mlflow_server: str) -> Lab:
    return make_lab(tmp_path_factory.mktemp("lab"), mlflow_server, devices=DEVICES, models=len(MODELS))


@pytest.fixture(scope="module")
def fleet(lab: Lab) -> Iterator[Fleet]:
    """A head node, and one node each for cpu_a and cpu_b; all end with the tests."""
    with running_fleet() as fleet:
        for device in ("cpu_a", "cpu_b"):
            _add(fleet, lab, device)
        yield fleet
    assert not processes_of(fleet.folder)


def _add(fleet: Fleet, lab: Lab, device: str) -> None:
    fleet.node(device, {device: 1}, environ={**lab.environ, "FRM_TEST_NODE": NUMBER_OF_NODE[device]})


@pytest.mark.timeout(1200)
def test_twelve_jobs_on_two_devices_and_an_absent_one_survive_the_death_of_a_node(lab: Lab, fleet: Fleet) -> None:
    jobs = ("-m", "hydra/launcher=frm_ray", f"device={','.join(DEVICES)}", f"model={','.join(MODELS)}")
    jobs = (*jobs, "tracking.experiment=fleet", "hydra.launcher.look_every_s=1")
    environ = {**os.environ, **lab.environ, **fleet.environ}
    with subprocess.Popen(
        lab.command(*jobs), env=environ, stderr=subprocess.PIPE, text=True, cwd=lab.folder
    ) as process:
        # As soon as both are busy, so that jobs are still waiting when the fleet is queried, even on a slow machine.
        _wait_for(lambda: all(_has_begun(lab, device, BASELINE) for device in ("cpu_a", "cpu_b")), process)
        shown = json.loads(subprocess.run([FRM_MLFLOW, "fleet", "--json"], env=environ, capture_output=True).stdout)
        _wait_for(lambda: _has_begun(lab, "cpu_b", "net2"), process)
        victims = [
            run.info.run_id for run in lab.runs("fleet") if _is_on(run, "cpu_b") and run.info.status == "RUNNING"
        ]
        fleet.kill("cpu_b")
        _, said = process.communicate(timeout=400)

    assert process.returncode == 1, said
    # The fleet's own report while the jobs ran.
    busy = {device["device"]: device for device in shown["devices"] if device["state"] == "busy"}
    assert set(busy) == {"cpu_a", "cpu_b"}
    assert all(f"on {name}" in device["job"] for name, device in busy.items())
    waiting = [line["label"].split()[0] for line in shown["queue"] if line["device"] == "cpu_a"]
    assert waiting
    assert waiting == list(MODELS[-len(waiting) :])
    # A job without a device fails at once with a list of who has which, and the other jobs continue.
    refused = [run for run in lab.runs("fleet") if run.data.tags["frm.device"] == "cpu_c"]
    assert [run.info.status for run in refused] == ["FAILED"] * len(MODELS)
    assert all("device_cpu_c" in _reason(run) and "has cpu_a" in _reason(run) for run in refused)
    # When a node dies, only its jobs fail, with the reason.
    runs = lab.runs("fleet")
    assert all("node" in _reason(run) for run in runs if run.info.run_id in victims)
    assert {run.info.status for run in runs if _is_on(run, "cpu_a")} == {"FINISHED"}
    assert "RUNNING" not in {run.info.status for run in runs}
    _assert_placed_and_alone(runs)
    # Ray itself would start them in any order, but the plan's order keeps baselines fresh.
    in_time = sorted((run for run in runs if _is_on(run, "cpu_a")), key=lambda run: run.info.start_time)
    assert [_model(run) for run in in_time] == [BASELINE, *MODELS]

    _add(fleet, lab, "cpu_b")
    _add(fleet, lab, "cpu_c")
    again = lab.bench(*jobs, "resume=true", environ=fleet.environ)

    assert again.returncode == 0, again.stderr
    runs = lab.runs("fleet")
    finished = [(run.data.tags["frm.device"], _model(run)) for run in runs if run.info.status == "FINISHED"]
    assert sorted(finished) == sorted((device, model) for device in DEVICES for model in (BASELINE, *MODELS))
    assert [run.info.status for run in lab.runs("fleet", schema.KIND_SWEEP)] == ["FINISHED"]
    assert all(_reason(run) for run in runs if run.info.status != "FINISHED")
    _assert_placed_and_alone(runs)


def test_a_fleet_that_has_none_of_the_devices_is_refused_before_anything_runs(lab: Lab, fleet: Fleet) -> None:
    jobs = ("-m", "hydra/launcher=frm_ray", "device=cpu_d", "model=net1", "tracking.experiment=absent")
    (lab.conf / "device" / "cpu_d.yaml").write_text("name: cpu_d\ntier: cpu\nkind: cpu\n")
    result = lab.bench(*jobs, environ=fleet.environ)

    assert result.returncode == 2
    assert "device_cpu_d" in result.stderr
    assert "has cpu_a" in result.stderr
    assert not lab.runs("absent")


def test_another_clusters_token_is_refused(lab: Lab, fleet: Fleet, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("0" * 64)
    environ = {**os.environ, **fleet.environ, "RAY_AUTH_TOKEN_PATH": str(tmp_path / "token")}
    result = subprocess.run([FRM_MLFLOW, "fleet"], env=environ, capture_output=True, text=True, timeout=60, check=False)

    assert result.returncode == 1
    assert "token" in result.stderr
    assert "Traceback" not in result.stderr


def test_ray_does_not_take_sigterm_from_the_sweep(fleet: Fleet) -> None:
    """The handler that ends the sweep as KILLED must still be installed once the launcher is connected."""
    program = """
import signal
from frm_mlflow.launcher.ray_cluster import connected
signal.signal(signal.SIGTERM, signal.default_int_handler)
with connected(address="auto", auth="token"):
    print(signal.getsignal(signal.SIGTERM) is signal.default_int_handler)
"""
    environ = {**os.environ, **fleet.environ}
    done = subprocess.run([sys.executable, "-c", program], env=environ, capture_output=True, text=True, check=False)
    assert done.stdout == "True\n", done.stderr


def _assert_placed_and_alone(runs: list[Run]) -> None:
    """Check that each job ran on its own node, and that jobs on one device do not overlap in time."""
    measured = [run for run in runs if run.info.status == "FINISHED"]
    for run in measured:
        # Composed on the node itself, from the node's own environment.
        assert run.data.params["device.index"] == NUMBER_OF_NODE[run.data.tags["frm.device"]]
    nodes: dict[str, set[str]] = {}
    for run in measured:
        nodes.setdefault(run.data.tags[schema.FLEET_NODE.key], set()).add(run.data.tags["frm.device"])
    assert all(len(devices) == 1 for devices in nodes.values())
    for device in DEVICES:
        spans = sorted((r.info.start_time, r.info.end_time) for r in measured if _is_on(r, device))
        assert all(later[0] >= earlier[1] for earlier, later in pairwise(spans))
    assert any(
        a.info.start_time < b.info.end_time and b.info.start_time < a.info.end_time
        for a, b in combinations(measured, 2)
    ), "devices work at the same time"


def _wait_for(condition, process: subprocess.Popen[str], *, timeout_s: float = 400.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.3)


def _has_begun(lab: Lab, device: str, model: str) -> bool:
    return any(_is_on(run, device) and _model(run) == model for run in lab.runs("fleet"))


def _is_on(run: Run, device: str) -> bool:
    return run.data.tags["frm.device"] == device


def _model(run: Run) -> str:
    return run.data.tags["frm.model"]


def _reason(run: Run) -> str:
    return run.data.tags.get("frm.reason", "")
