"""`frm-mlflow bench` on a device over ssh, end to end: its run describes the device."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from mlflow import MlflowClient

from frm_mlflow import schema
from frm_mlflow.devices.archive import worker_archive
from tests.fleet.sshd import Sshd, overrides

FRM_MLFLOW = str(Path(sys.executable).parent / "frm-mlflow")
NETWORK = ("model=target", "model.target=tests.models.user_networks:residual", "model.name=residual")
SMALL = ("model.input_shape=[3,32,32]", "baseline=squeezenet1_1", "measure=quick", "runtime.threads=1")


def start(sshd: Sshd, folder: Path, uri: str, *more: str) -> subprocess.Popen[str]:
    reach = overrides(sshd.device(python=sys.executable, folder=folder))
    command = [FRM_MLFLOW, "bench", "device=cpu", *reach, *NETWORK, *SMALL, *more]
    environment = os.environ | {"MLFLOW_TRACKING_URI": uri, "PYTHONPATH": str(Path(__file__).parents[2])}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, text=True, env=environment, cwd=folder.parent, **pipes)  # type: ignore[call-overload, no-any-return]


def bench(sshd: Sshd, folder: Path, uri: str, *more: str) -> subprocess.CompletedProcess[str]:
    process = start(sshd, folder, uri, *more)
    output, errors = process.communicate()
    return subprocess.CompletedProcess(process.args, process.returncode, output, errors)


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
    assert len(list((folder / "exported_models").iterdir())) == 2


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


@pytest.mark.slow
def test_what_a_cut_connection_took_is_measured_again_and_the_rest_is_not(
    sshd: Sshd, mlflow_server: str, tmp_path: Path
):
    folder, client = tmp_path / "device", MlflowClient(mlflow_server)

    def statuses() -> list[tuple[str, str]]:
        [experiment] = client.search_experiments(filter_string="name = 'cut'")
        runs = client.search_runs([experiment.experiment_id])
        models = [run for run in runs if schema.MODEL.key in run.data.tags]
        return sorted((run.data.tags[schema.MODEL.key], run.info.status) for run in models)

    process = start(sshd, folder, mlflow_server, "tracking.experiment=cut")
    while not any((folder / "scratch").glob("*")):
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    sshd.cut()
    output, errors = process.communicate()
    assert process.returncode == 1, output
    assert "was lost" in errors
    assert statuses() == [("residual", "FINISHED"), ("squeezenet1_1", "FAILED")]
    again = bench(sshd, folder, mlflow_server, "tracking.experiment=cut", "resume=true")
    assert again.returncode == 0, again.stderr
    assert statuses() == [("residual", "FINISHED"), ("squeezenet1_1", "FAILED"), ("squeezenet1_1", "FINISHED")]
    assert not any((folder / "scratch").glob("*"))
