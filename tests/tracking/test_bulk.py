from __future__ import annotations

from typing import Any

import pandas as pd
import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from records import measured, record

from frm_mlflow.errors import DataError, TrackingError
from frm_mlflow.tracking import bulk, send, server
from frm_mlflow.tracking.write_back import write_back


@pytest.fixture(params=["mlflow_server", "database", "postgres"])
def client(request: pytest.FixtureRequest) -> MlflowClient:
    return server.connect(request.getfixturevalue(request.param))


def runs_of(client: MlflowClient, experiment: str) -> list:
    found = client.get_experiment_by_name(experiment)
    return list(client.search_runs([found.experiment_id], max_results=1000))


def test_records_are_logged_once_however_often_they_come(client: MlflowClient, experiment: str) -> None:
    records = [record(number) for number in range(20)]
    seen = []
    first = bulk.log_records(client, experiment, [*records, records[0]], on_progress=lambda *at: seen.append(at))
    again = bulk.log_records(client, experiment, records)
    more = bulk.log_records(client, experiment, [*records, record(99)])
    assert (first.added, first.present, first.failed) == (20, 0, 0)
    assert seen[-1] == (20, 20)
    assert (again.added, again.present) == (0, 20)
    assert (more.added, more.present) == (1, 20)
    runs = {run.info.run_name: run for run in runs_of(client, experiment)}
    assert len(runs) == 21
    for wanted in records:
        run = runs[wanted.name]
        assert run.info.status == "FINISHED"
        assert run.info.end_time == round(wanted.end_time.timestamp() * 1000)
        assert measured(run) == wanted.metrics
        assert run.data.params == wanted.params
        assert wanted.all_tags().items() <= run.data.tags.items()


def test_an_interrupted_import_goes_on_where_it_ended(client: MlflowClient, experiment: str) -> None:
    def interrupt(done: int, total: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    records = [record(number) for number in range(10)]
    with pytest.raises(KeyboardInterrupt):
        bulk.log_records(client, experiment, records, on_progress=interrupt)
    experiment_id = server.ensure_experiment(client, experiment)
    half = client.create_run(experiment_id, tags=record(50).all_tags(), run_name=record(50).name)
    report = bulk.log_records(client, experiment, [*records, record(50)])
    assert report.failed == 0
    runs = runs_of(client, experiment)
    assert len(runs) == 11
    assert {run.info.status for run in runs} == {"FINISHED"}
    assert measured(client.get_run(half.info.run_id)) == record(50).metrics


def test_a_deleted_record_is_logged_again(client: MlflowClient, experiment: str) -> None:
    bulk.log_records(client, experiment, [record(0), record(1)])
    client.delete_run(runs_of(client, experiment)[0].info.run_id)
    report = bulk.log_records(client, experiment, [record(0), record(1)])
    assert (report.added, report.present) == (1, 1)


def test_a_record_that_is_refused_is_named_and_the_others_are_logged(
    client: MlflowClient, experiment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    create = send.create_run

    def refuse(client: MlflowClient, experiment_id: str, **facts: Any) -> str:
        if facts["name"] == record(1).name:
            raise MlflowException("quota exceeded")
        return create(client, experiment_id, **facts)

    with monkeypatch.context() as patch:
        patch.setattr(send, "create_run", refuse)
        report = bulk.log_records(client, experiment, [record(0), record(1), record(2)])
    assert report.failures == ((record(1).name, "quota exceeded"),)
    assert report.added == 2
    assert bulk.log_records(client, experiment, [record(0), record(1), record(2)]).added == 1


def test_write_back(client: MlflowClient, experiment: str) -> None:
    bulk.log_records(client, experiment, [record(0), record(1)])
    ids = [run.info.run_id for run in runs_of(client, experiment)]
    values = pd.DataFrame({"frm": [0.25, float("nan")], "rank/frm": [1, 2]}, index=ids)
    assert write_back(client, values) == 2
    assert write_back(client, values.assign(frm=[0.125, float("nan")])) == 2
    first, second = (client.get_run(run_id) for run_id in ids)
    assert (first.data.metrics["frm"], first.data.metrics["rank/frm"]) == (0.125, 1.0)
    assert (second.data.metrics["frm"], second.data.metrics["rank/frm"]) == (0.5, 2.0)
    assert {first.info.status, second.info.status} == {"FINISHED"}


def test_write_back_refuses_unknown_metrics_and_runs(client: MlflowClient) -> None:
    with pytest.raises(DataError, match="frmm"):
        write_back(client, pd.DataFrame({"frmm": [1.0]}, index=["0" * 32]))
    with pytest.raises(TrackingError, match="cannot be written back"):
        write_back(client, pd.DataFrame({"frm": [1.0]}, index=["0" * 32]))
