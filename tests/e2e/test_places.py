"""Whole commands if the home folder cannot be written, or if the user has none."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from mlflow import MlflowClient

FRM_MLFLOW = str(Path(sys.executable).parent / "frm-mlflow")
NO_SUCH_USER = """
import pwd

def unknown(uid):
    raise KeyError(f"getpwuid(): uid not found: {uid}")

pwd.getpwuid = unknown
"""
"""Loaded by Python at its start: makes the process run like one of a container with an arbitrary user id."""


@pytest.fixture(params=["unwritable home", "no home"])
def environment(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, str]:
    (tmp_path / "tmp").mkdir()
    hidden = ("HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME", "FRM_CACHE_DIR", "FRM_MLFLOW_SPOOL", "FRM_MLFLOW_LOCKS")
    environ = {key: value for key, value in os.environ.items() if key not in hidden}
    environ |= {"TMPDIR": str(tmp_path / "tmp"), "MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path}/mlflow.db"}
    if request.param == "unwritable home":
        (tmp_path / "home").write_text("a file in place of the folder")
        return environ | {"HOME": str(tmp_path / "home")}
    (tmp_path / "start").mkdir()
    (tmp_path / "start" / "sitecustomize.py").write_text(NO_SUCH_USER)
    return environ | {"PYTHONPATH": str(tmp_path / "start")}


def run(*arguments: str, environment: dict[str, str], folder: Path) -> subprocess.CompletedProcess[str]:
    command = [FRM_MLFLOW, *arguments]
    return subprocess.run(
        command, env=environment, cwd=folder, capture_output=True, text=True, timeout=300, check=False
    )


def test_doctor_works_without_a_home(environment: dict[str, str], tmp_path: Path) -> None:
    done = run("doctor", environment=environment, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "onnxruntime" in done.stdout
    assert "Traceback" not in done.stderr
    assert "frm-mlflow: " in done.stderr, "the substitute is announced"


def test_ingest_works_without_a_home(environment: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_text("model,device,tier,latency_ms\nresnet50,my_board,edge,12.5\n")
    done = run("ingest", "source=csv", "path=table.csv", environment=environment, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    client = MlflowClient(environment["MLFLOW_TRACKING_URI"])
    experiment = client.get_experiment_by_name("frm")
    assert experiment is not None
    (run_,) = client.search_runs([experiment.experiment_id], "tags.`frm.kind` = 'benchmark'")
    assert run_.data.metrics["latency/p50_ms"] == 12.5
