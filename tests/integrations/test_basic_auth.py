"""MLflow's basic-auth server: owners can attach and gate; readers and strangers get the missing permission named."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import mlflow
import pytest

import frm_mlflow
from frm_mlflow import schema
from frm_mlflow.errors import TrackingError
from frm_mlflow.runners.attach import attach
from frm_mlflow.runners.gate import GateFailedError, GateUndecidedError, gate
from frm_mlflow.sweep.compose import composed
from frm_mlflow.tracking import spool
from tests.basic_auth import PASSWORD, Accounts, acting_as, log_in
from tests.integrations.conftest import Net
from tests.integrations.logged import EXAMPLE, log_torch

NAME = "guarded_digits"
EXPERIMENT = "guarded"


@dataclass(frozen=True)
class Guarded:
    """A server on which `owner` has logged and registered a model that `reader` may read and `stranger` may not."""

    uri: str
    run_id: str
    model_uri: str


@pytest.fixture(scope="module")
def guarded(accounts: Accounts) -> Guarded:
    accounts.add("owner", "reader", "stranger")
    with acting_as("owner"):
        mlflow.set_tracking_uri(accounts.uri)
        experiment = mlflow.set_experiment(EXPERIMENT)
        with mlflow.start_run() as run:
            info = log_torch(Net(), "net", registered_model_name=NAME)
    accounts.grant("reader", "experiment", experiment.experiment_id)
    accounts.grant("reader", "registered_model", NAME)
    return Guarded(accounts.uri, run.info.run_id, info.model_uri)


@pytest.fixture
def log_in_as(guarded: Guarded, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", guarded.uri)
    mlflow.set_tracking_uri(guarded.uri)
    return lambda user, password=PASSWORD: log_in(monkeypatch, user, password)


def run_attach(guarded: Guarded, *overrides: str) -> None:
    attach(composed("attach", [f"model_uri={guarded.model_uri}", *overrides]))


def run_gate(*overrides: str) -> None:
    gate(composed("gate", [f"candidate=models:/{NAME}/1", "device=cpu", "max_latency_ms=3", *overrides]))


@pytest.mark.oldest_mlflow
def test_the_owner_logs_attaches_and_gates(guarded, log_in_as, net, measured_as):
    log_in_as("owner")
    measured_as()
    mlflow.set_experiment(EXPERIMENT)
    with mlflow.start_run() as run:
        frm_mlflow.log_frm(net, EXAMPLE)
    run_attach(guarded)
    run_gate("alias=champion")
    client = mlflow.MlflowClient(guarded.uri)
    assert client.get_run(run.info.run_id).data.metrics["frm"] > 0
    child = f"tags.`mlflow.parentRunId` = '{guarded.run_id}'"
    assert len(client.search_runs([run.info.experiment_id], child)) == 1
    version = client.get_model_version(NAME, "1")
    assert version.tags[schema.GATE.key].startswith("pass")
    assert version.aliases == ["champion"]


@pytest.mark.oldest_mlflow
def test_without_registry_access_a_failure_stays_a_failure(guarded, log_in_as, measured_as, tmp_path):
    log_in_as("reader")
    measured_as(latency_ms=2.0)
    with pytest.raises(GateUndecidedError, match=r"passes, but .* needs EDIT permission on the registered model"):
        run_gate()
    assert "pass" in (tmp_path / "frm-gate.md").read_text()
    run_gate("tag=false")
    with pytest.raises(GateUndecidedError, match="needs EDIT permission"):
        run_gate("tag=false", "alias=champion")
    measured_as(latency_ms=4.0)
    with pytest.raises(GateFailedError, match=r"fails: latency is 4 .* needs EDIT permission") as raised:
        run_gate()
    assert raised.value.exit_code == 1


@pytest.mark.oldest_mlflow
def test_results_are_spooled_until_write_access(guarded, log_in_as, net, measured_as, tmp_path, monkeypatch):
    monkeypatch.setenv("FRM_MLFLOW_SPOOL", str(tmp_path / "spool"))
    client = mlflow.MlflowClient(guarded.uri)
    log_in_as("reader")
    before = client.get_run(guarded.run_id).info
    measured_as()
    refused = r"Permission denied.*needs EDIT permission on the experiment.*saved in .*frm-mlflow resend"
    with pytest.raises(TrackingError, match=refused):
        frm_mlflow.log_frm(net, EXAMPLE, run_id=guarded.run_id, prefix="mine/", step=7)
    with pytest.raises(TrackingError, match=refused):
        run_attach(guarded, "into=run")
    with pytest.raises(TrackingError, match=r"not logged.*frm-mlflow resend"):
        run_attach(guarded)
    assert len(spool.pending()) == 3
    left = spool.resend().left
    assert len(left) == 3
    assert all("Permission denied" in reason or "HTTP 403" in reason for _, reason in left)
    log_in_as("owner")
    assert spool.resend() == spool.ResendReport(3, 0, ())
    run = client.get_run(guarded.run_id)
    assert run.data.metrics["frm"] == run.data.metrics["mine/frm"] > 0
    assert [point.step for point in client.get_metric_history(guarded.run_id, "mine/frm")] == [7]
    assert (run.info.run_name, run.info.status, run.info.end_time) == (before.run_name, before.status, before.end_time)
    model = client.get_logged_model(guarded.model_uri.removeprefix("models:/"))
    assert "frm" in {metric.key for metric in model.metrics}


def test_wrong_credentials_fail_before_measuring(guarded, log_in_as, net, measured_as):
    asked = measured_as()
    log_in_as("stranger")
    with pytest.raises(TrackingError, match="Permission denied"):
        frm_mlflow.log_frm(net, EXAMPLE, run_id=guarded.run_id)
    with pytest.raises(TrackingError, match=r"Permission denied.*the account needs READ permission"):
        run_attach(guarded)
    with pytest.raises(GateUndecidedError, match=r"Permission denied.*the account needs READ permission") as raised:
        run_gate()
    assert raised.value.exit_code == 2
    log_in_as("owner", "wrong")
    with pytest.raises(GateUndecidedError, match="MLFLOW_TRACKING_USERNAME"):
        run_gate()
    with pytest.raises(TrackingError, match="MLFLOW_TRACKING_USERNAME"):
        run_attach(guarded)
    assert asked == []
