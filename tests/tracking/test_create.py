from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from mlflow import MlflowClient
from records import record

from frm_mlflow import schema
from frm_mlflow.errors import TrackingError
from frm_mlflow.tracking import send, server
from frm_mlflow.tracking.create import create_run
from frm_mlflow.tracking.runs import open_sweep
from tests.faults.proxy import Proxy, running_proxy


@pytest.fixture
def proxy(mlflow_server: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "0")
    with running_proxy(int(urlsplit(mlflow_server).port or 0)) as proxy:
        yield proxy


def opened(uri: str, experiment_id: str) -> list:
    return list(MlflowClient(uri).search_runs([experiment_id]))


@pytest.mark.parametrize("kind", ["lost", "error", "down"])
def test_a_run_whose_answer_is_lost_is_created_once(
    kind: str, proxy: Proxy, mlflow_server: str, experiment: str
) -> None:
    client = MlflowClient(proxy.uri)
    experiment_id = server.ensure_experiment(client, experiment)
    proxy.weather.set(kind, requests=1)
    tags = {schema.OPENING.key: "mark-1", "more": "x"}
    run_id = create_run(client, experiment_id, name="b", tags=tags, start_ms=5, sleep=lambda _: None)
    assert proxy.weather.disturbed == 1
    (run,) = opened(mlflow_server, experiment_id)
    assert (run.info.run_id, run.info.run_name, run.info.start_time) == (run_id, "b", 5)
    assert run.data.tags["more"] == "x"


def test_a_server_that_refuses_is_not_asked_again(proxy: Proxy, mlflow_server: str) -> None:
    with pytest.raises(TrackingError, match="No Experiment"):
        create_run(MlflowClient(proxy.uri), "999", name="b", tags={schema.OPENING.key: "m"}, start_ms=5)


def test_a_benchmark_that_was_opened_without_an_answer_is_the_run_that_its_result_goes_to(
    proxy: Proxy, mlflow_server: str, experiment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = server.connect(proxy.uri)
    with open_sweep(client, experiment, name="sweep", spool=tmp_path) as sweep:
        monkeypatch.setattr("frm_mlflow.tracking.create.WAIT_S", 0.0)
        monkeypatch.setattr("frm_mlflow.tracking.runs.check_answer", lambda client: None)
        proxy.weather.set("lost")
        with sweep.benchmark(name="b") as run:
            proxy.weather.set("fair")
            assert run.run_id is None
            run.finish(record())
    runs = opened(mlflow_server, sweep.experiment_id)
    assert sorted(r.info.status for r in runs) == ["FINISHED", "FINISHED"], "the sweep and one benchmark, no third"


def test_what_a_sweep_opened_and_never_knew_is_closed_with_it(
    mlflow_server: str, experiment: str, tmp_path: Path
) -> None:
    client = server.connect(mlflow_server)
    with open_sweep(client, experiment, name="sweep", spool=tmp_path) as sweep:
        unknown = client.create_run(sweep.experiment_id, tags={schema.OPENING.key: f"{sweep.opening}-9"})
        foreign = client.create_run(sweep.experiment_id, tags={schema.OPENING.key: "of another sweep-1"})
    run = client.get_run(unknown.info.run_id)
    assert (run.info.status, run.data.tags[schema.REASON.key]) == ("KILLED", send.LOST_RESPONSE)
    assert client.get_run(foreign.info.run_id).info.status == "RUNNING"
