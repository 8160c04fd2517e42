"""`frm-mlflow bench` on a device that is reached over ssh, end to end: its run tells of the device."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from mlflow import MlflowClient

from frm_mlflow import schema
from frm_mlflow.devices.archive import worker_archive
from tests.fleet.sshd import Sshd, overrides

FRM_MLFLOW = str(Path(sys.executable).parent / "frm-mlflow")
NETWORK = ("model=target", "model.target=tests.measure.user_networks:residual", "model.name=residual")
SMALL = ("model.input_shape=[3,32,32]", "baseline=squeezenet1_1", "measure=quick", "runtime.threads=1")


def bench(sshd: Sshd, folder: Path, uri: str, *more: str) -> subprocess.CompletedProcess[str]:
    reach = overrides(sshd.device(python=sys.executable, folder=folder))
    command = [FRM_MLFLOW, "bench", "device=cpu", *reach, *NETWORK, *SMALL, *more]
    environment = os.environ | {"MLFLOW_TRACKING_URI": uri, "PYTHONPATH": str(Path(__file__).parents[2])}
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False, cwd=folder.parent)


def test_a_benchmark_is_logged_with_what_the_device_is(sshd: Sshd, mlflow_server: str, tmp_path: Path):
    folder = tmp_path / "device"
    done = bench(sshd, folder, mlflow_server, "tracking.experiment=over-ssh")
    assert done.returncode == 0, done.stderr
    client = MlflowClient(mlflow_server)
    experiment = client.get_experiment_by_name("over-ssh")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id], f"tags.`{schema.MODEL.key}` = 'residual'")
    assert [run.info.status for run in runs] == ["FINISHED"]
    assert runs[0].data.tags[schema.DEVICE.key] == "cpu"
    assert runs[0].data.metrics[schema.FRM.key] > 0
    assert runs[0].data.metrics[schema.MEMORY_PEAK.key] > 0
    [name] = [a.path for a in client.list_artifacts(runs[0].info.run_id) if a.path.endswith("environment.json")]
    there = json.loads(Path(client.download_artifacts(runs[0].info.run_id, name, str(tmp_path))).read_text())
    assert there["transport"] == {
        "kind": "ssh",
        "host": "127.0.0.1",
        "node": os.uname().nodename,
        "worker": worker_archive().sha256,
    }
    assert len(list((folder / "artefacts").iterdir())) == 2


@pytest.mark.parametrize(
    ("override", "code", "reason"),
    [
        ("device.recognise.board=Pi", 2, "device=cpu is not the machine at 127.0.0.1: it needs a board"),
        ("device.known_hosts=/dev/null", 2, "not in your known hosts"),
    ],
)
def test_another_device_or_an_unknown_host_measures_and_logs_nothing(
    sshd: Sshd, mlflow_server: str, tmp_path: Path, override: str, code: int, reason: str
):
    experiment = f"refused-{tmp_path.name}"
    done = bench(sshd, tmp_path / "device", mlflow_server, override, f"tracking.experiment={experiment}")
    assert (done.returncode, done.stdout) == (code, "")
    assert reason in done.stderr
    assert "Traceback" not in done.stderr
    assert MlflowClient(mlflow_server).get_experiment_by_name(experiment) is None
