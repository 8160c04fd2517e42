"""`frm-mlflow report` against a real server."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from mlflow import MlflowClient

from frm_mlflow import schema
from frm_mlflow.errors import TrackingError
from frm_mlflow.runners.report import report
from frm_mlflow.sweep.compose import composed
from tests.browser.fleet import log_fleet
from tests.faults.proxy import running_proxy


def run(uri: str, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [Path(sys.executable).with_name("frm-mlflow"), "report", f"tracking.uri={uri}", *arguments],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("weather", "words"),
    [
        (("error",), "HTTP 500: injected fault"),
        (("slow", 6.0), "does not answer"),
        (("forbidden",), "HTTP 403): set MLFLOW_TRACKING_USERNAME"),
    ],
    ids=["500", "slow", "403"],
)
def test_a_server_that_is_ill_or_refuses_is_said_at_once(
    mlflow_server: str, tmp_path: Path, weather: tuple, words: str
) -> None:
    with running_proxy(int(mlflow_server.rpartition(":")[2])) as proxy:
        proxy.weather.set(weather[0], delay_s=weather[1] if len(weather) > 1 else 0.0)
        with pytest.raises(TrackingError, match=re.escape(words)):
            report(composed("report", [f"tracking.uri={proxy.uri}", f"output={tmp_path}/report.html"]))
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def logged(mlflow_server: str, experiment: str) -> str:
    log_fleet(mlflow_server, experiment=experiment)
    return experiment


def test_the_report_is_a_file_and_an_artifact(mlflow_server: str, logged: str, tmp_path: Path) -> None:
    settings = [f"tracking.experiment={logged}", "options.resamples=100", "options.shuffles=10", "json=true"]
    done = run(mlflow_server, tmp_path, *settings, "predict_for=['Raspberry Pi']")
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    written = (tmp_path / answer["output"]).read_text(encoding="utf-8")
    assert "Prediction for Raspberry Pi" in written
    client = MlflowClient(mlflow_server)
    assert [item.path for item in client.list_artifacts(answer["run_id"])] == ["report.html"]
    tags = client.get_run(answer["run_id"]).data.tags
    assert tags[schema.KIND.key] == schema.KIND_ANALYSIS
    assert tags[schema.DIGEST.key] == answer["digest"]


def test_without_log_nothing_is_logged(mlflow_server: str, logged: str, tmp_path: Path) -> None:
    done = run(mlflow_server, tmp_path, f"experiments=['{logged}']", "log=false", "options.resamples=100", "json=true")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["run_id"] is None


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["output=nowhere/report.html"], 2, "does not exist"),
        (["experiments=[never_made]"], 1, "never_made"),
        (["experiments=[Default]"], 1, "frm-mlflow ingest"),
        (["options.resamples=1"], 2, "at least 100"),
    ],
)
def test_what_cannot_work_is_refused_with_the_remedy(
    mlflow_server: str, tmp_path: Path, arguments: list[str], code: int, words: str
) -> None:
    done = run(mlflow_server, tmp_path, *arguments)
    assert (done.returncode, words in done.stderr) == (code, True), done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []
