"""An untrusted model's code never runs in `attach`, `gate` and `evaluate`, in this process or another."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys

import mlflow
import numpy as np
import pandas as pd
import pytest

from frm_mlflow.config import ModelConfig, PrecisionConfig
from frm_mlflow.devices.local import open_local
from frm_mlflow.errors import ConfigError, FrmError
from frm_mlflow.export import process
from frm_mlflow.export.request import ExportRequest
from frm_mlflow.runners.attach import attach
from frm_mlflow.runners.gate import gate
from frm_mlflow.sweep.compose import composed
from tests.integrations import hostile

DATA = pd.DataFrame(np.zeros((3, 8), np.float32), columns=[str(i) for i in range(8)])


def by_attach(uri: str) -> None:
    attach(composed("attach", [f"model_uri={uri}", "json=true"]))


def by_gate(uri: str) -> None:
    gate(composed("gate", [f"candidate={uri}", "max_latency_ms=1000", "json=true"]))


def by_evaluate(uri: str) -> None:
    with mlflow.start_run():
        mlflow.models.evaluate(uri, DATA, model_type="frm", evaluators="frm")


@pytest.fixture(scope="module")
def database(tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("untrusted")
    uri = f"sqlite:///{folder}/mlflow.db"
    mlflow.MlflowClient(uri).create_experiment("untrusted", artifact_location=(folder / "artifacts").as_uri())
    return uri


@pytest.fixture
def tracking(database, monkeypatch) -> mlflow.MlflowClient:
    """A database without a server, which takes only a second to start."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", database)
    mlflow.set_tracking_uri(database)
    mlflow.set_experiment("untrusted")
    return mlflow.MlflowClient(database)


DOORS = {"attach": by_attach, "gate": by_gate, "evaluate": by_evaluate}


@pytest.fixture(autouse=True)
def no_consent(monkeypatch):
    monkeypatch.delenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", raising=False)


def logged(folder) -> str:
    with mlflow.start_run() as run:
        mlflow.log_artifacts(str(folder), "model")
    return f"runs:/{run.info.run_id}/model"


@pytest.mark.oldest_mlflow
@pytest.mark.parametrize("kind", hostile.REFUSED)
def test_a_model_with_code_is_refused_at_each_door(tracking, measured_as, tmp_path, kind):
    canary, asked = tmp_path / "canary", measured_as()
    hostile.REFUSED[kind](tmp_path / "model", canary)
    uri = logged(tmp_path / "model")
    for door in DOORS.values():
        with pytest.raises(ConfigError, match="trust=true"):
            door(uri)
        assert not canary.exists()
    assert asked == []


@pytest.mark.oldest_mlflow
@pytest.mark.parametrize("kind", hostile.UNREADABLE)
def test_a_model_that_is_not_one_is_refused(tracking, measured_as, tmp_path, kind):
    canary, asked = tmp_path / "canary", measured_as()
    hostile.UNREADABLE[kind](tmp_path / "model", canary)
    uri = logged(tmp_path / "model")
    for name, door in DOORS.items():
        expected = FrmError if name != "evaluate" else (FrmError, Exception)
        with pytest.raises(expected):
            door(uri)
        assert not canary.exists()
    assert asked == []


@pytest.mark.oldest_mlflow
@pytest.mark.parametrize("kind", hostile.HARMLESS)
def test_a_graph_without_code_is_measured_without_installing(tracking, measured_as, tmp_path, kind):
    canary, asked = tmp_path / "canary", measured_as()
    hostile.HARMLESS[kind](tmp_path / "model", canary)
    uri = logged(tmp_path / "model")
    for door in DOORS.values():
        door(uri)
    assert asked == ["model"] * len(DOORS)
    assert not canary.exists()


LOADS_EACH = """
import json, os, sys, torch, mlflow.pyfunc, mlflow.pytorch
for kind, model in json.loads(sys.argv[1]).items():
    if (child := os.fork()) == 0:
        if os.path.exists(model + "/data/model.pt2") and kind not in ("code_module", "own_loader"):
            torch.export.load(model + "/data/model.pt2").module()(torch.zeros(2, 8))
        elif kind == "whole_pickle":
            mlflow.pytorch.load_model(model)
        else:
            mlflow.pyfunc.load_model(model)
        os._exit(0)
    os.waitpid(child, 0)
"""
"""Loads each model in a process of its own, as a caller that trusts it would."""


def test_trusted_models_run_their_code(tmp_path):
    """Without this, an absent canary would prove nothing."""
    for kind in hostile.CONTROLS:
        hostile.REFUSED[kind](tmp_path / kind / "model", tmp_path / kind / "canary")
    models = json.dumps({kind: str(tmp_path / kind / "model") for kind in hostile.CONTROLS})
    subprocess.run([sys.executable, "-c", LOADS_EACH, models], capture_output=True, check=False)
    assert {kind for kind in hostile.CONTROLS if (tmp_path / kind / "canary").exists()} == set(hostile.CONTROLS)


def test_workers_and_exports_run_nothing_from_the_path_of_a_model(tmp_path, monkeypatch):
    canary, model, entry = tmp_path / "canary", tmp_path / "model", tmp_path / "entry"
    hostile.site_module(model, canary)
    entry.mkdir()
    monkeypatch.setattr(sys, "path", [str(model / "code"), *sys.path])
    monkeypatch.setenv("PYTHONPATH", str(model / "code"))
    monkeypatch.chdir(model / "code")
    monkeypatch.setenv("PYTHONSTARTUP", str(model / "code" / "sitecustomize.py"))
    with open_local(name="tester", threads=1) as worker:
        worker.request("hello", timeout_s=60)
    subject = ModelConfig(name="linear", source="pt2", path=str(model / "data" / "model.pt2"))
    request = ExportRequest(model=subject, runtime="torch_export", precision=PrecisionConfig("fp32"), batch_size=2)
    process.run(request, entry, timeout_s=300)
    assert (entry / "manifest.json").exists() or list(entry.iterdir())
    assert not canary.exists()
    control = subprocess.run([sys.executable, "-c", "pass"], env=os.environ, check=False, capture_output=True)
    assert canary.exists(), control.stderr


def test_a_local_file_is_searched_by_the_gate(tracking, measured_as, tmp_path):
    canary, asked = tmp_path / "canary", measured_as()
    hostile.REFUSED["guard"](tmp_path / "model", canary)
    with pytest.raises(ConfigError, match="guards_code"):
        by_gate(str(tmp_path / "model" / "data" / "model.pt2"))
    assert asked == []


def test_consent_lets_mlflow_load_the_model(tracking, measured_as, tmp_path):
    canary = tmp_path / "canary"
    measured_as()
    hostile.whole_pickle(tmp_path / "model", canary)
    uri = logged(tmp_path / "model")
    with contextlib.suppress(FrmError, AttributeError):  # the pickle contains no network
        attach(composed("attach", [f"model_uri={uri}", "json=true", "trust=true"]))
    assert canary.exists()
