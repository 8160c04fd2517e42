from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd
import pytest
from mlflow import MlflowClient
from records import measured, record

from benchmarks.mlflow_server import free_port, start_server, stop_server, wait_until_healthy
from frm_mlflow import schema
from frm_mlflow.errors import TrackingError
from frm_mlflow.tracking import server, spool
from frm_mlflow.tracking.attach import attach
from frm_mlflow.tracking.entry import RunEntry, record_entry
from frm_mlflow.tracking.fleet_job import close_lost_job, join_sweep
from frm_mlflow.tracking.run_files import RunFiles
from frm_mlflow.tracking.runs import open_sweep
from frm_mlflow.tracking.summary import Summary


class OwnServer:
    """A server for this test only, which can be stopped and restarted with the same address and database."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.port = free_port()
        self.uri = f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        self.process = start_server(self.directory, port=self.port)
        wait_until_healthy(self.uri, self.process)

    def stop(self) -> None:
        stop_server(self.process)


def benchmarks(client: MlflowClient, experiment: str) -> list:
    experiment_id = client.get_experiment_by_name(experiment).experiment_id
    return list(client.search_runs([experiment_id], f"tags.`{schema.KIND.key}` = 'benchmark'"))


def test_an_outage_loses_and_repeats_no_result(tmp_path: Path, experiment: str) -> None:
    own = OwnServer(tmp_path / "server")
    own.start()
    folder = tmp_path / "spool"
    with open_sweep(server.connect(own.uri), experiment, name="sweep", spool=folder) as sweep:
        with sweep.benchmark(name="logged at once") as run:
            run.finish(record(0))
        with sweep.benchmark(name="server goes while it is measured") as run:
            own.stop()
            run.finish(record(1), RunFiles(pd.DataFrame({"wall_ns": [1, 2]})))
        with sweep.benchmark(name="server is away from the start") as run:
            assert run.run_id is None
            run.finish(record(2))
        with pytest.raises(ValueError, match="no"), sweep.benchmark(name="fails while the server is away"):
            raise ValueError("no")
    assert [outcome.kept is not None for outcome in sweep.outcomes] == [False, True, True, True]
    assert len(spool.pending(folder)) == 4, "three benchmarks and the end of the sweep"

    away = spool.resend(folder)
    assert (away.sent, len(away.left)) == (0, 4)
    assert all("does not answer" in reason for _, reason in away.left)

    own.start()
    try:
        report = spool.resend(folder)
        assert (report.sent, report.present, report.left) == (4, 0, ())
        assert spool.resend(folder) == spool.ResendReport(0, 0, ())
        client = MlflowClient(own.uri)
        runs = {run.info.run_name: run for run in benchmarks(client, experiment)}
        assert sorted(run.info.status for run in runs.values()) == ["FAILED", "FINISHED", "FINISHED", "FINISHED"]
        assert len(runs) == 4
        for number in (1, 2):
            assert measured(runs[record(number).name]) == record(number).metrics
        path = client.download_artifacts(runs[record(1).name].info.run_id, "samples.parquet")
        assert pd.read_parquet(path)["wall_ns"].tolist() == [1, 2]
        parent = client.get_run(sweep.run_id)
        assert parent.info.status == "FAILED"
        assert "1 of 4 benchmarks failed" in parent.data.tags[schema.REASON.key]
    finally:
        own.stop()


@pytest.fixture
def client(mlflow_server: str) -> MlflowClient:
    return server.connect(mlflow_server)


def kept(client: MlflowClient, experiment: str, directory: Path, number: int = 0) -> Path:
    entry = record_entry(record(number), tracking_uri=client.tracking_uri, experiment=experiment)
    return spool.keep(entry, RunFiles(config="a: 1"), directory=directory)


def test_resending_logged_results_adds_nothing(client: MlflowClient, experiment: str, tmp_path: Path) -> None:
    kept(client, experiment, tmp_path)
    assert spool.resend(tmp_path).sent == 1
    kept(client, experiment, tmp_path)
    report = spool.resend(tmp_path)
    assert (report.sent, report.present) == (0, 1)
    assert len(benchmarks(client, experiment)) == 1


def test_a_partly_logged_run_is_completed(client: MlflowClient, experiment: str, tmp_path: Path) -> None:
    experiment_id = server.ensure_experiment(client, experiment)
    half = client.create_run(experiment_id, tags=record().all_tags())
    client.log_metric(half.info.run_id, schema.FRM.key, 0.5, timestamp=1)
    kept(client, experiment, tmp_path)
    assert spool.resend(tmp_path).sent == 1
    (run,) = benchmarks(client, experiment)
    assert (run.info.run_id, run.info.status) == (half.info.run_id, "FINISHED")
    assert measured(run) == record().metrics
    assert Path(client.download_artifacts(run.info.run_id, "config.yaml")).read_text() == "a: 1"


def test_a_folder_that_another_process_sends_is_skipped(client: MlflowClient, experiment: str, tmp_path: Path) -> None:
    folder = kept(client, experiment, tmp_path)
    with spool.claimed(folder) as mine:
        assert mine
        assert spool.resend(tmp_path).left == ((folder, "another process is sending it"),)
    assert spool.resend(tmp_path).sent == 1
    assert list(tmp_path.iterdir()) == [], "neither the folder nor its lock stays"


def test_resend_to_the_servers_new_address(client: MlflowClient, experiment: str, tmp_path: Path) -> None:
    entry = record_entry(record(), tracking_uri="http://127.0.0.1:9", experiment=experiment, run_id="0" * 32)
    spool.keep(entry, directory=tmp_path)
    seen = []
    assert spool.resend(tmp_path, uri=client.tracking_uri, on_progress=lambda *at: seen.append(at)).sent == 1
    assert seen == [(1, 1)]
    assert len(benchmarks(client, experiment)) == 1


def test_a_broken_folder_is_named_and_the_others_are_sent(
    client: MlflowClient, experiment: str, tmp_path: Path
) -> None:
    broken = kept(client, experiment, tmp_path, 0)
    (broken / "run.json").write_text("{")
    kept(client, experiment, tmp_path, 1)
    report = spool.resend(tmp_path)
    assert report.sent == 1
    assert report.left == ()
    ((folder, reason),) = report.set_aside
    assert folder == tmp_path / spool.SET_ASIDE / broken.name
    assert "run.json is not a saved run" in reason
    assert reason in folder.with_name(f"{broken.name}.txt").read_text()
    assert spool.pending(tmp_path) == []
    assert spool.resend(tmp_path) == spool.ResendReport(0, 0, ())


def test_links_in_a_saved_run_are_not_followed(client: MlflowClient, experiment: str, tmp_path: Path) -> None:
    private = tmp_path / "private.txt"
    private.write_text("not yours")
    directory = tmp_path / "spool"
    in_artifacts = kept(client, experiment, directory, 0)
    (in_artifacts / "artifacts" / "link.txt").symlink_to(private)
    elsewhere = kept(client, experiment, tmp_path / "elsewhere", 1)
    (directory / "0000000000000-linked").symlink_to(elsewhere)
    (directory / f"{spool.PARTIAL_PREFIX}linked").symlink_to(elsewhere)
    healthy = kept(client, experiment, directory, 2)
    healthy.with_name(f"{healthy.name}.lock").symlink_to(private)
    report = spool.resend(directory)
    assert (report.sent, len(report.set_aside), report.left) == (1, 2, ())
    assert all("symbolic link" in reason for _, reason in report.set_aside)
    assert private.read_text() == "not yours"
    assert (elsewhere / "run.json").exists()


def test_passwords_of_addresses_are_not_kept_on_disk(
    experiment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mlflow_server: str
) -> None:
    address = mlflow_server.replace("://", "://me:pa55word@")
    entry = record_entry(record(0), tracking_uri=address, experiment=experiment)
    folder = spool.keep(entry, directory=tmp_path)
    assert "pa55word" not in (folder / "run.json").read_text()
    ((_, reason),) = spool.resend(tmp_path).left
    assert "MLFLOW_TRACKING_URI" in reason
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    assert spool.resend(tmp_path, only=address).sent == 1


def test_ending_a_run_that_does_not_exist_is_refused(client: MlflowClient, experiment: str, tmp_path: Path) -> None:
    end = {"record_id": "", "name": "", "status": "FINISHED", "start_ms": 0, "end_ms": 1, "run_id": "0" * 32}
    spool.keep(RunEntry(tracking_uri=client.tracking_uri, experiment=experiment, **end), directory=tmp_path)
    ((_, reason),) = spool.resend(tmp_path).left
    assert f"run {'0' * 32} does not exist" in reason


def test_nothing_partial_is_ever_pending(client: MlflowClient, experiment: str, tmp_path: Path) -> None:
    class Unwritable:
        def to_parquet(self, *_: object, **__: object) -> None:
            raise OSError("disk full")

    entry = record_entry(record(), tracking_uri=client.tracking_uri, experiment=experiment)
    with pytest.raises(OSError, match="disk full"):
        spool.keep(entry, RunFiles(samples=Unwritable()), directory=tmp_path)
    assert spool.pending(tmp_path) == []


def test_the_spool_lies_where_the_variable_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert spool.spool_directory({"FRM_MLFLOW_SPOOL": str(tmp_path)}) == tmp_path
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert spool.spool_directory({}) == tmp_path / "frm-mlflow" / "spool", "not in the cache, which people empty"


def test_connect_reports_a_uri_that_is_no_tracking_store() -> None:
    with pytest.raises(TrackingError, match="nonsense://x"):
        server.connect("nonsense://x")


def test_where_no_disk_takes_a_result_it_is_sent_at_once_with_its_files(
    client: MlflowClient, experiment: str, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("no folder can be made below this")
    opened = open_sweep(client, experiment, name="sweep", spool=tmp_path / "file" / "spool")
    with opened as sweep, sweep.benchmark(name="b") as run:
        run.finish(record(), RunFiles(config="a: 1"))
    assert [outcome.status for outcome in sweep.outcomes] == ["FINISHED"]
    (run,) = benchmarks(client, experiment)
    assert (run.info.status, measured(run)) == ("FINISHED", record().metrics)
    assert Path(client.download_artifacts(run.info.run_id, "config.yaml")).read_text() == "a: 1"
    assert client.get_run(sweep.run_id).info.status == "FINISHED"


def test_where_neither_disk_nor_server_takes_a_result_the_benchmark_failed_and_says_so(
    client: MlflowClient, experiment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("no folder can be made below this")

    def away(client: MlflowClient) -> None:
        raise TrackingError("the server does not answer")

    opened = open_sweep(client, experiment, name="sweep", spool=tmp_path / "file" / "spool")
    with pytest.raises(TrackingError, match="is lost"), opened as sweep, sweep.benchmark(name="b") as run:  # noqa: PT012
        monkeypatch.setattr(spool, "check_answer", away)
        run.finish(record())
    assert [outcome.status for outcome in sweep.outcomes] == ["FAILED"]


def test_what_a_killed_writer_left_is_removed_by_the_next(
    client: MlflowClient, experiment: str, tmp_path: Path
) -> None:
    (tmp_path / ".partial-x").mkdir()
    kept(client, experiment, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [spool.pending(tmp_path)[0].name]
    (tmp_path / ".partial-y").mkdir()
    assert spool.resend(tmp_path).sent == 1
    assert list(tmp_path.iterdir()) == []


def test_a_half_logged_run_that_was_ended_as_killed_is_completed(
    client: MlflowClient, experiment: str, tmp_path: Path
) -> None:
    experiment_id = server.ensure_experiment(client, experiment)
    half = client.create_run(experiment_id, tags=record().all_tags())
    client.set_tag(half.info.run_id, schema.REASON.key, "its process is gone")
    client.set_terminated(half.info.run_id, "KILLED")
    kept(client, experiment, tmp_path)
    assert spool.resend(tmp_path).sent == 1
    (run,) = benchmarks(client, experiment)
    assert (run.info.run_id, run.info.status, measured(run)) == (half.info.run_id, "FINISHED", record().metrics)
    assert schema.REASON.key not in run.data.tags


def test_resend_for_one_server_leaves_what_is_meant_for_another(
    client: MlflowClient, experiment: str, tmp_path: Path
) -> None:
    kept(client, experiment, tmp_path, 0)
    entry = record_entry(record(1), tracking_uri="http://127.0.0.1:9", experiment=experiment)
    other = spool.keep(entry, directory=tmp_path)
    assert spool.resend(tmp_path, only=client.tracking_uri) == spool.ResendReport(1, 0, ())
    assert spool.pending(tmp_path) == [other]


def test_a_clock_that_is_set_back_does_not_end_a_run_before_its_start(
    client: MlflowClient, experiment: str, tmp_path: Path
) -> None:
    experiment_id = server.ensure_experiment(client, experiment)
    opened = client.create_run(experiment_id, start_time=9_000_000_000_000)
    entry = record_entry(record(), tracking_uri=client.tracking_uri, experiment=experiment, run_id=opened.info.run_id)
    spool.keep(entry, directory=tmp_path)
    assert spool.resend(tmp_path).sent == 1
    assert client.get_run(opened.info.run_id).info.end_time == 9_000_000_000_000


def test_the_parents_tables_and_figures_wait_with_its_end(
    client: MlflowClient, experiment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    board = pd.DataFrame({"model": ["a", "b"], "frm": [0.5, 1.0]})
    with monkeypatch.context() as patch, open_sweep(client, experiment, name="sweep", spool=tmp_path) as sweep:
        sweep.summary = Summary("# Two models", tables={"leaderboard": board})
        patch.setattr(spool, "check_answer", lambda client: (_ for _ in ()).throw(TrackingError("away")))
    assert client.get_run(sweep.run_id).info.status == "RUNNING"
    assert spool.resend(tmp_path).sent == 1
    run = client.get_run(sweep.run_id)
    assert (run.info.status, run.data.tags["mlflow.note.content"]) == ("FINISHED", "# Two models")
    assert "leaderboard.json" in run.data.tags["mlflow.loggedArtifacts"], "the UI shows it as a table"
    shown = pd.read_json(client.download_artifacts(sweep.run_id, "leaderboard.json"), orient="split")
    pd.testing.assert_frame_equal(shown, board)
    again = pd.read_csv(client.download_artifacts(sweep.run_id, "leaderboard.csv"))
    pd.testing.assert_frame_equal(again, board)


def test_what_a_dead_job_has_kept_on_a_host_is_sent_by_the_next_job_there_and_not_measured_again(
    client: MlflowClient, experiment: str, tmp_path: Path
) -> None:
    gateway, mine = tmp_path / "gateway", {schema.FLEET_JOB.key: "a job", schema.KIND.key: schema.KIND_BENCHMARK}
    with open_sweep(client, experiment, name="sweep", spool=tmp_path / "launcher") as sweep:
        run = client.create_run(sweep.experiment_id, tags={**mine, "mlflow.parentRunId": sweep.run_id})
        entry = record_entry(
            record(0), tracking_uri=client.tracking_uri, experiment=experiment, run_id=run.info.run_id, tags=mine
        )
        spool.keep(entry, directory=gateway)  # at this point, its node loses power
        close_lost_job(sweep, "a job", name="the job", tags={}, reason="its node died")
        assert client.get_run(run.info.run_id).info.status == "FAILED"
        with join_sweep(client, sweep.run_id, tags=mine, spool=gateway):
            [found] = benchmarks(client, experiment)
    assert found.info.run_id == run.info.run_id
    assert found.info.status == "FINISHED"
    assert measured(found) == record(0).metrics
    assert not spool.pending(gateway)


def test_a_result_for_a_users_run_is_saved_and_logged_once(
    client: MlflowClient, experiment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(spool.SPOOL_VARIABLE, str(tmp_path))
    opened = client.create_run(server.ensure_experiment(client, experiment), run_name="training")
    client.set_terminated(opened.info.run_id)
    before = client.get_run(opened.info.run_id).info
    with pytest.raises(TrackingError, match=r"[^.]\. The result is saved in .*`frm-mlflow resend` logs it"):
        attach(MlflowClient("http://127.0.0.1:9"), before.run_id, record(), step=3, files=RunFiles(config="a: 1"))
    (folder,) = spool.pending()
    shutil.copytree(folder, tmp_path / "the server's answer was lost")
    assert spool.resend(uri=client.tracking_uri) == spool.ResendReport(2, 0, ())
    run = client.get_run(before.run_id)
    assert (run.info.run_name, run.info.status, run.info.end_time) == ("training", "FINISHED", before.end_time)
    assert measured(run) == record().metrics
    assert schema.ATTACHED_ON.key in run.data.tags, "caches notice it although the run has ended"
    assert schema.WRITTEN.key not in run.data.metrics
    assert [point.step for point in client.get_metric_history(before.run_id, schema.FRM.key)] == [3]
    stored = client.download_artifacts(before.run_id, f"frm/{record().record_id}/config.yaml")
    assert Path(stored).read_text() == "a: 1"
