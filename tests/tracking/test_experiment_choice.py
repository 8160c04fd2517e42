"""Which experiment is used: the setting, MLflow's own variables, or `frm`."""

from __future__ import annotations

import pytest
from mlflow import MlflowClient

from frm_mlflow.config import TrackingConfig
from frm_mlflow.errors import TrackingError
from frm_mlflow.tracking import server
from frm_mlflow.tracking.history import experiments_of
from frm_mlflow.tracking.server import experiment_name


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> MlflowClient:
    return server.connect(f"sqlite:///{tmp_path_factory.mktemp('store')}/mlflow.db")


@pytest.fixture(scope="module")
def experiment_id(client: MlflowClient) -> str:
    return server.ensure_experiment(client, "by id")


def test_setting_beats_the_variables(client: MlflowClient, experiment_id: str) -> None:
    environ = {"MLFLOW_EXPERIMENT_NAME": "other", "MLFLOW_EXPERIMENT_ID": experiment_id}
    assert experiment_name(client, "mine", environ=environ) == "mine"


def test_mlflows_variables_name_the_experiment(client: MlflowClient, experiment_id: str) -> None:
    assert experiment_name(client, None, environ={"MLFLOW_EXPERIMENT_NAME": "team"}) == "team"
    assert experiment_name(client, None, environ={"MLFLOW_EXPERIMENT_ID": experiment_id}) == "by id"


def test_without_any_the_experiment_is_frm(client: MlflowClient) -> None:
    assert experiment_name(client, None, environ={}) == "frm"


def test_unknown_id_is_refused_with_the_remedy(client: MlflowClient) -> None:
    with pytest.raises(TrackingError, match=r"MLFLOW_EXPERIMENT_ID=987654321: .* Unset the variable or set tracking"):
        experiment_name(client, None, environ={"MLFLOW_EXPERIMENT_ID": "987654321"})


def test_commands_that_read_take_the_variable(client: MlflowClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "team")
    assert experiments_of(client, None, TrackingConfig()) == ["team"]
    assert experiments_of(client, ["frm"], TrackingConfig()) == ["frm"]
