"""A job in a separate process: its overrides arrive unchanged, and the reply reports how it ended."""

from __future__ import annotations

from pathlib import Path

import pytest

from frm_mlflow import __version__
from frm_mlflow.launcher.execute import execute
from frm_mlflow.launcher.job_process import Request
from frm_mlflow.tracking import server
from frm_mlflow.tracking.runs import open_sweep
from tests.fleet.small_fleet import BASELINE, QUICK, Lab, make_lab

AWKWARD = """it's "a" $HOME; `b`
 and more"""


@pytest.fixture
def lab(tmp_path: Path, mlflow_server: str, monkeypatch: pytest.MonkeyPatch) -> Lab:
    lab = make_lab(tmp_path, mlflow_server, devices=("cpu_a",), models=1)
    for key, value in lab.environ.items():
        monkeypatch.setenv(key, value)
    return lab


def request(lab: Lab, parent_run_id: str, **changed: object) -> Request:
    quoted = AWKWARD.replace("'", "\\'")
    words = ["device=cpu_a", "model=net1", f"baseline={BASELINE}", f"model.name='{quoted}'", *QUICK]
    settings = {"version": __version__, "label": "a job", "overrides": words, "parent_run_id": parent_run_id}
    settings |= {"search_path": [f"hydra.searchpath=['file://{lab.conf}']"], "tracking_uri": lab.uri}
    return Request(**{**settings, "tags": {"frm.fleet_job": "j1"}, **changed})


def test_overrides_with_quotes_spaces_and_newlines_arrive_word_for_word(lab: Lab) -> None:
    with open_sweep(server.connect(lab.uri), "awkward", name="s") as sweep:
        reply = execute(request(lab, sweep.run_id))

    assert reply.error == ""
    assert [outcome["status"] for outcome in reply.outcomes] == ["FINISHED", "FINISHED"]
    runs = {run.data.tags["frm.model"]: run for run in lab.runs("awkward")}
    assert set(runs) == {BASELINE, AWKWARD}
    assert runs[AWKWARD].data.tags["frm.fleet_job"] == "j1"
    assert runs[AWKWARD].data.tags["mlflow.parentRunId"] == sweep.run_id


def test_a_host_with_another_version_is_refused_with_the_remedy(lab: Lab) -> None:
    reply = execute(request(lab, "none", version="0.0.1"))
    assert "install frm-mlflow 0.0.1" in reply.error


def test_settings_that_cannot_be_used_are_the_replys_error(lab: Lab) -> None:
    with open_sweep(server.connect(lab.uri), "unusable", name="s") as sweep:
        reply = execute(request(lab, sweep.run_id, overrides=["device=cpu_a", "measure.runs=0"]))
    assert "measure.runs must be at least 1" in reply.error
    assert not reply.outcomes
