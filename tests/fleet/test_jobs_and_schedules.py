"""What a fleet's launcher checks before anything runs, and what it reports; no cluster is needed."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta, timezone
from itertools import groupby

import pytest

from frm_mlflow import frame
from frm_mlflow.errors import ConfigError
from frm_mlflow.launcher.device_status import BUSY, DEAD, FREE, OTHERS, state_of
from frm_mlflow.launcher.jobs import Job, in_order, job_of
from frm_mlflow.launcher.ray_cluster import QUEUED, RUNNING, Line, Node, devices_by_node, units
from frm_mlflow.launcher.slurm_fleet import SlurmSettings
from frm_mlflow.runners.bench import refuse_side_by_side
from frm_mlflow.sweep.compose import composed
from frm_mlflow.sweep.schedule import SAME_DEVICE, SAME_SETTINGS, Past, schedule

NOON = datetime(2026, 1, 1, 12, tzinfo=timezone.utc)
NODES = (
    Node("1", "10.0.0.1", "left", True, {"cpu_a": 1.0, "phone": 1.0}),
    Node("2", "10.0.0.2", "right", True, {"cpu_b": 1.0}),
    Node("3", "10.0.0.3", "gone", False, {"cpu_c": 1.0}),
)


def job(*overrides: str) -> Job:
    def compose(words: list[str]):
        return composed("bench", words)

    return job_of(overrides, load=compose, compose=compose)


def test_jobs_that_share_a_baseline_follow_each_other() -> None:
    asked = [
        job(f"device={device}", f"model={model}", f"runtime={runtime}")
        for model in ("resnet18", "mobilenet_v2")
        for device in ("cpu", "h100")
        for runtime in ("onnxruntime", "torch")
    ]
    ordered = in_order(asked)

    assert sorted(j.job_id for j in ordered) == sorted(j.job_id for j in asked)
    runs_of_groups = [key for key, _ in groupby(ordered, key=lambda j: j.group)]
    assert len(runs_of_groups) == len(set(runs_of_groups)) == 4


def test_a_job_keeps_its_words_and_its_id_but_not_what_is_the_sweeps() -> None:
    words = ("device=cpu", "model=onnx", "model.path=a.onnx", 'model.name="a \\"b\\" \n c"')
    plain, resumed = job(*words), job(*words, "resume=true", "tracking.experiment=x", "max_drift=0.2")

    assert plain.overrides == words
    assert plain.job_id == resumed.job_id
    assert plain.plans[-1].settings.model.name == 'a "b" \n c'


def test_a_job_without_a_device_is_refused() -> None:
    with pytest.raises(ConfigError, match="device=auto does not give"):
        job("device=auto", "model=resnet18")


@pytest.mark.parametrize(
    "name", ["hydra_joblib_launcher.joblib_launcher.JoblibLauncher", "hydra_ray_launcher.ray_launcher.RayLauncher"]
)
def test_launchers_that_know_no_devices_are_refused_with_the_reason(name: str) -> None:
    with pytest.raises(ConfigError, match="disturb each other"):
        refuse_side_by_side({"_target_": f"hydra_plugins.{name}"})
    refuse_side_by_side({"_target_": "hydra_plugins.frm_mlflow_launchers.RayLauncher"})
    refuse_side_by_side({"_target_": "hydra._internal.core_plugins.basic_launcher.BasicLauncher"})


def test_an_unknown_slurm_option_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="gpus is not one of constraint, gres"):
        SlurmSettings(devices={"a100": {"gpus": 1}})
    assert SlurmSettings().options("a100") == {"constraint": "a100"}


def test_only_living_nodes_have_devices() -> None:
    assert units(NODES) == {"cpu_a": 1.0, "phone": 1.0, "cpu_b": 1.0}
    assert devices_by_node(NODES) == "left (10.0.0.1) has cpu_a, phone; right (10.0.0.2) has cpu_b"
    assert devices_by_node(NODES[2:]) == "no living node has any device"


def test_a_device_is_free_busy_or_dead() -> None:
    running = Line("k1", "net1 on cpu_a", "cpu_a", RUNNING, 5.0, "here:1", node="1")
    waiting = Line("k2", "net2 on cpu_a", "cpu_a", QUEUED, 5.0, "here:1")
    lost = replace(running, key="k3", device="cpu_c", node="3")
    found = state_of(NODES, [running, waiting, lost], {"device_phone": 1.0})

    shown = {d.device: (d.state, d.job) for d in found.devices}
    assert shown.pop("cpu_c") == (DEAD, "")
    assert shown == {"cpu_a": (BUSY, "net1 on cpu_a"), "phone": (FREE, ""), "cpu_b": (BUSY, OTHERS)}
    assert found.queue == (waiting,)


def test_a_schedule_counts_what_is_done_below_the_parent_and_estimates_the_rest_from_the_past() -> None:
    plans = job("device=cpu", "models=[resnet18,mobilenet_v2,levit_128s]").plans
    first, second = plans[0], plans[1]

    def run(plan, *, seconds: float, parent: str) -> dict:
        what = {"model": plan.settings.model.name, "runtime": "onnxruntime", "precision": "fp32", "device": "cpu"}
        ids = {"run_id": f"r{seconds}", "config_hash": plan.config_hash(device="cpu", chip="x"), "chip": "x"}
        when = {"start_time": NOON, "end_time": NOON + timedelta(seconds=seconds), "source": "measured"}
        return what | ids | when | {"parent_run_id": parent}

    runs = [run(first, seconds=100, parent="mine")]
    runs += [run(second, seconds=seconds, parent="other") for seconds in (40, 60)]
    found = schedule([("cpu", plan) for plan in plans], Past(frame.from_runs(runs), parent_run_id="mine"))

    assert [step.done for step in found.steps] == ["r100", "", "", ""]
    assert [step.basis for step in found.steps] == [SAME_SETTINGS, SAME_SETTINGS, SAME_DEVICE, SAME_DEVICE]
    assert found.seconds == pytest.approx(50 + 60 + 60)
    assert found.sentence() == "4 benchmarks: 1 done already, 3 to run, about 3 min by past runs"
    nothing = schedule([("cpu", plan) for plan in plans], Past(frame.from_runs([])))
    assert nothing.unknown == 4
    assert nothing.sentence() == "4 benchmarks: 0 done already, 4 to run, 4 that no past run resembles"


def test_devices_of_a_fleet_work_at_the_same_time() -> None:
    plans = job("device=cpu", "model=resnet18").plans
    rows = [
        {"model": "resnet18", "runtime": "onnxruntime", "precision": "fp32", "device": device, "source": "measured"}
        | {"chip": "x", "run_id": device, "start_time": NOON, "end_time": NOON + timedelta(seconds=seconds)}
        for device, seconds in (("cpu_a", 10), ("cpu_b", 30))
    ]
    pairs = [(device, plan) for device in ("cpu_a", "cpu_b") for plan in plans]
    past = Past(frame.from_runs(rows))

    assert schedule(pairs, past, side_by_side=True, units={"cpu_b": 2.0}).seconds == pytest.approx(30)
    assert schedule(pairs, past, side_by_side=True).seconds == pytest.approx(60)
    assert schedule(pairs, past).seconds == pytest.approx(80)
