from __future__ import annotations

import subprocess
import sys

import mlflow
import pytest
from mlflow import MlflowClient

from frm_mlflow import devices, schema
from frm_mlflow.tracking import context

DEVICE_TAGS = {schema.DEVICE.key, schema.CHIP.key, schema.TIER.key}


@pytest.fixture(autouse=True)
def _fresh_probe() -> None:
    context._device_tags.cache_clear()


def tags_of_a_fluent_run(uri: str, experiment: str) -> dict[str, str]:
    mlflow.set_tracking_uri(uri)
    mlflow.set_experiment(experiment)
    with mlflow.start_run() as run:
        pass
    return MlflowClient(uri).get_run(run.info.run_id).data.tags


def test_a_users_own_run_carries_the_device(mlflow_server: str, experiment: str) -> None:
    tags = tags_of_a_fluent_run(mlflow_server, experiment)
    hardware = devices.probe()
    assert tags[schema.CHIP.key] in (hardware.cpu, *(gpu.name for gpu in hardware.gpus))
    assert tags.keys() >= DEVICE_TAGS


def test_it_can_be_turned_off(mlflow_server: str, experiment: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FRM_MLFLOW_CONTEXT", "0")
    assert not DEVICE_TAGS & tags_of_a_fluent_run(mlflow_server, experiment).keys()


def test_a_probe_that_fails_stops_no_run(mlflow_server: str, experiment: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise RuntimeError("no sensors")

    monkeypatch.setattr(devices, "probe", broken)
    assert not DEVICE_TAGS & tags_of_a_fluent_run(mlflow_server, experiment).keys()


def test_the_hook_is_cheap_to_import() -> None:
    program = (
        "import sys, mlflow.tracking.context.registry; before = set(sys.modules)\n"
        "import frm_mlflow.tracking.context\n"
        "print(sorted(m for m in set(sys.modules) - before if not m.startswith('frm_mlflow')))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
