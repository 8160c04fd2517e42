from __future__ import annotations

import math
import multiprocessing
from dataclasses import replace
from functools import partial
from pathlib import Path

import pandas as pd
import pytest
from mlflow import MlflowClient
from mlflow.entities import Metric, ViewType
from records import record

from benchmarks.mlflow_server import running_server
from frm_mlflow import schema
from frm_mlflow.errors import DataError, TrackingError
from frm_mlflow.frame import from_records
from frm_mlflow.tracking import bulk, cache, pages, server
from frm_mlflow.tracking.attach import attach
from frm_mlflow.tracking.database import ended_benchmarks
from frm_mlflow.tracking.query import IS_BENCHMARK, BenchmarkFrame, benchmarks
from frm_mlflow.tracking.write_back import write_back

RUN_FACTS = ["run_id", "experiment_id", "parent_run_id", "start_time", "end_time", schema.WRITTEN.column]


@pytest.fixture(params=["mlflow_server", "database", "postgres"])
def client(request: pytest.FixtureRequest) -> MlflowClient:
    return server.connect(request.getfixturevalue(request.param))


@pytest.fixture
def remote(mlflow_server: str) -> MlflowClient:
    return server.connect(mlflow_server)


def log(client: MlflowClient, experiment: str, *numbers: int) -> list[str]:
    """Log records and return their run ids in the order of `numbers`."""
    bulk.log_records(client, experiment, [record(number) for number in numbers])
    ids = {run.data.tags[schema.MODEL.key]: run.info.run_id for run in runs_of(client, experiment)}
    return [ids[f"model_{number}"] for number in numbers]


def runs_of(client: MlflowClient, experiment: str) -> list:
    found = client.get_experiment_by_name(experiment)
    return list(client.search_runs([found.experiment_id], max_results=1000))


def models(result: BenchmarkFrame) -> list[str]:
    return sorted(result.frame["model"])


def test_the_frame_holds_what_was_logged(client: MlflowClient, experiment: str, tmp_path: Path) -> None:
    log(client, experiment, 0, 1, 2)
    result = benchmarks(client, [experiment], folder=tmp_path)
    assert list(result.frame.columns) == list(schema.FRAME_COLUMNS)
    logged = result.frame.sort_values("model", ignore_index=True)
    expected = from_records([record(0), record(1), record(2)])
    pd.testing.assert_frame_equal(logged.drop(columns=RUN_FACTS), expected.drop(columns=RUN_FACTS))
    assert [t.timestamp() for t in logged["end_time"]] == [record(n).end_time.timestamp() for n in range(3)]
    assert result.run_ids == tuple(sorted(result.run_ids))
    assert (result.left_out, result.not_finite) == ({}, {})


def test_a_second_query_is_the_same_and_so_is_one_without_cache(
    remote: MlflowClient, experiment: str, tmp_path: Path
) -> None:
    log(remote, experiment, 0, 1)
    results = [benchmarks(remote, [experiment], folder=tmp_path) for _ in range(2)]
    results.append(benchmarks(remote, [experiment], cached=False))
    assert len({result.digest for result in results}) == 1
    for other in results[1:]:
        pd.testing.assert_frame_equal(results[0].frame, other.frame, check_dtype=False)


def test_unfinished_benchmarks_are_left_out_and_counted(client: MlflowClient, experiment: str, tmp_path: Path) -> None:
    log(client, experiment, 0)
    experiment_id = server.ensure_experiment(client, experiment)
    for status in ("FAILED", "FAILED", "KILLED", None):
        run = client.create_run(experiment_id, tags=record(9).all_tags())
        if status:
            client.set_terminated(run.info.run_id, status)
    client.create_run(experiment_id, tags={schema.KIND.key: schema.KIND_SWEEP})
    result = benchmarks(client, [experiment], folder=tmp_path)
    assert models(result) == ["model_0"]
    assert result.left_out == {"status FAILED": 2, "status KILLED": 1, "status RUNNING": 1}


def test_nan_and_infinite_metrics_are_missing_and_counted(
    client: MlflowClient, experiment: str, tmp_path: Path
) -> None:
    first, second = log(client, experiment, 0, 1)
    client.log_metric(first, schema.MEMORY_PEAK.key, math.nan)
    client.log_metric(second, schema.MEMORY_PEAK.key, math.inf)
    client.log_metric(second, schema.TOP1.key, -math.inf)
    result = benchmarks(client, [experiment], folder=tmp_path)
    assert result.not_finite == {schema.MEMORY_PEAK.key: 2, schema.TOP1.key: 1}
    assert result.frame[schema.MEMORY_PEAK.column].isna().all()


def test_the_servers_filter_syntax(client: MlflowClient, experiment: str, tmp_path: Path) -> None:
    log(client, experiment, 0, 1, 2)
    where = f"metrics.`{schema.LATENCY_P50.key}` >= 11 AND params.`measure.runs` = '100'"
    assert models(benchmarks(client, [experiment], where=where, folder=tmp_path)) == ["model_1", "model_2"]
    assert models(benchmarks(client, [experiment], folder=tmp_path)) == ["model_0", "model_1", "model_2"]
    with pytest.raises(TrackingError, match=r"refused the query|HTTP 400"):
        benchmarks(client, [experiment], where="nonsense ~ 1", folder=tmp_path)


def test_several_experiments(client: MlflowClient, experiment: str, tmp_path: Path) -> None:
    log(client, experiment, 0)
    log(client, f"{experiment} again", 1)
    result = benchmarks(client, [experiment, f"{experiment} again"], folder=tmp_path)
    assert models(result) == ["model_0", "model_1"]


def test_no_runs_says_which_filter_removed_how_many(client: MlflowClient, experiment: str, tmp_path: Path) -> None:
    log(client, experiment, *range(5))
    experiment_id = server.ensure_experiment(client, experiment)
    client.set_terminated(client.create_run(experiment_id, tags=record(9).all_tags()).info.run_id, "FAILED")
    client.create_run(experiment_id)
    where = "tags.`frm.device` = 'tset_cpu'"
    with pytest.raises(DataError) as caught:
        benchmarks(client, [experiment], where=where, folder=tmp_path)
    text = str(caught.value)
    assert (
        f"7 runs; 6 with frm.kind = benchmark; 5 of these FINISHED; 0 of these that meet the filter [{where}]" in text
    )


def test_an_empty_experiment_is_no_error_of_ours(client: MlflowClient, experiment: str, tmp_path: Path) -> None:
    server.ensure_experiment(client, experiment)
    for _ in range(2):
        with pytest.raises(DataError, match="0 runs; 0 with"):
            benchmarks(client, [experiment], folder=tmp_path)


def test_an_unknown_experiment_is_named_with_those_that_exist(client: MlflowClient, experiment: str) -> None:
    server.ensure_experiment(client, experiment)
    with pytest.raises(TrackingError, match=rf"experiment 'frn' does not exist.*{experiment[:20]}"):
        benchmarks(client, ["frn"])


class TestRefresh:
    """After each change on the server, the cached result equals that of a complete read."""

    @pytest.fixture(autouse=True)
    def _setup(self, remote: MlflowClient, experiment: str, tmp_path: Path) -> None:
        self.client, self.experiment, self.folder = remote, experiment, tmp_path

    def query(self) -> BenchmarkFrame:
        cached = benchmarks(self.client, [self.experiment], folder=self.folder)
        assert cached.digest == benchmarks(self.client, [self.experiment], cached=False).digest
        return cached

    def test_new_runs(self) -> None:
        log(self.client, self.experiment, 0)
        self.query()
        log(self.client, self.experiment, 5)
        assert models(self.query()) == ["model_0", "model_5"]

    def test_a_run_that_is_logged_late_by_other_software(self) -> None:
        log(self.client, self.experiment, 10)
        self.query()
        late = record(3)
        experiment_id = server.ensure_experiment(self.client, self.experiment)
        run = self.client.create_run(experiment_id, tags=late.all_tags())
        self.client.set_terminated(run.info.run_id, end_time=1000)
        assert models(self.query()) == ["model_10", "model_3"]

    def test_deleted_and_restored_runs(self) -> None:
        first, second, third = log(self.client, self.experiment, 0, 1, 2)
        self.query()
        self.client.delete_run(first)
        assert models(self.query()) == ["model_1", "model_2"]
        self.client.restore_run(first)
        self.client.delete_run(third)
        assert models(self.query()) == ["model_0", "model_1"]
        self.client.delete_run(second)
        log(self.client, self.experiment, 7)
        assert models(self.query()) == ["model_0", "model_7"]

    def test_a_run_deleted_before_the_first_query_and_restored_after_it(self) -> None:
        first, _ = log(self.client, self.experiment, 0, 1)
        self.client.delete_run(first)
        assert models(self.query()) == ["model_1"]
        self.client.restore_run(first)
        assert models(self.query()) == ["model_0", "model_1"]

    def test_values_changed_by_hand(self) -> None:
        first, second = log(self.client, self.experiment, 0, 1)
        self.query()
        self.client.log_batch(first, metrics=[Metric(schema.FRM.key, 0.75, 2_000_000_000_000, 1)])
        self.client.set_tag(second, schema.FAMILY.key, "hybrid")
        frame = self.query().frame.set_index("run_id")
        assert frame.loc[first, "frm"] == 0.75
        assert frame.loc[second, "family"] == "hybrid"

    def test_a_run_that_was_started_again(self) -> None:
        first, _ = log(self.client, self.experiment, 0, 1)
        self.query()
        self.client.set_terminated(first, "FAILED")
        result = self.query()
        assert (models(result), result.left_out) == (["model_1"], {"status FAILED": 1})

    def test_a_run_that_is_a_benchmark_no_more(self) -> None:
        first, _ = log(self.client, self.experiment, 0, 1)
        self.query()
        self.client.set_tag(first, schema.KIND.key, "other")
        assert models(self.query()) == ["model_1"]

    def test_a_deleted_and_restored_experiment(self) -> None:
        log(self.client, self.experiment, 0, 1)
        self.query()
        experiment_id = server.ensure_experiment(self.client, self.experiment)
        self.client.delete_experiment(experiment_id)
        with pytest.raises((DataError, TrackingError)):
            benchmarks(self.client, [self.experiment], folder=self.folder)
        self.client.restore_experiment(experiment_id)
        assert models(self.query()) == ["model_0", "model_1"]

    def test_written_back_values_are_found_though_few_runs_are_read_again(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(cache, "RECHECKED", 0)
        ids = log(self.client, self.experiment, *range(8))
        self.query()
        write_back(self.client, pd.DataFrame({"frm": [0.1] * 8}, index=ids))
        assert (self.query().frame["frm"] == 0.1).all()

    def test_a_benchmark_that_joined_an_ended_run_is_found(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(cache, "RECHECKED", 0)
        (run_id,) = log(self.client, self.experiment, 1)
        self.query()
        again = replace(record(1), metrics={**record(1).metrics, "frm": 0.25})
        attach(self.client, run_id, again, step=1)
        assert self.query().frame["frm"].tolist() == [0.25]

    def test_late_imports_are_found_though_few_runs_are_read_again(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(cache, "RECHECKED", 0)
        log(self.client, self.experiment, 50)
        self.query()
        log(self.client, self.experiment, *range(8))
        assert len(self.query().frame) == 9

    def test_runs_that_come_and_go_in_the_past_are_found_by_their_number(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(cache, "RECHECKED", 0)
        monkeypatch.setattr(cache, "LEAF", 2)
        log(self.client, self.experiment, *range(20))
        self.query()
        experiment_id = server.ensure_experiment(self.client, self.experiment)
        for number in (3, 12):
            run = self.client.create_run(experiment_id, tags=record(100 + number).all_tags())
            end_ms = round(record(number).end_time.timestamp() * 1000) + 1
            self.client.set_terminated(run.info.run_id, end_time=end_ms)
        assert len(self.query().frame) == 22

    def test_every_run_is_read_again_in_turn(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(cache, "RECHECKED", 3)
        monkeypatch.setattr(cache, "OVERLAP_S", 0.0)
        ids = log(self.client, self.experiment, *range(8))
        self.query()
        for run_id in ids:
            self.client.log_batch(run_id, metrics=[Metric(schema.FRM.key, 0.75, 2_000_000_000_000, 1)])
        changed = [
            int((benchmarks(self.client, [self.experiment], folder=self.folder).frame["frm"] == 0.75).sum())
            for _ in range(3)
        ]
        assert changed == [3, 6, 8]

    def test_a_broken_file_is_made_anew(self) -> None:
        log(self.client, self.experiment, 0)
        self.query()
        (file,) = self.folder.glob("*.parquet")
        file.write_bytes(b"PAR1 no more")
        assert models(self.query()) == ["model_0"]

    def test_two_processes_at_once(self) -> None:
        log(self.client, self.experiment, *range(12))
        arguments = (self.client.tracking_uri, self.experiment, self.folder)
        with multiprocessing.get_context("spawn").Pool(2) as pool:
            digests = pool.starmap(repeated_digest, [arguments] * 2)
        assert {digest for found in digests for digest in found} == {self.query().digest}
        assert [path.suffix for path in sorted(self.folder.iterdir())] == [".lock", ".parquet"]


def repeated_digest(uri: str, experiment: str, folder: Path) -> list[str]:
    client = MlflowClient(uri)
    return [benchmarks(client, [experiment], folder=folder).digest for _ in range(5)]


def test_pages_and_counts_agree_with_mlflow(client: MlflowClient, experiment: str) -> None:
    log(client, experiment, *range(23))
    selection = pages.Selection(client, pages.named_experiments(client, [experiment]))
    rows = [row for page in pages.pages(selection, page_size=4) for row in page]
    assert sorted(row["run_id"] for row in rows) == sorted(run.info.run_id for run in runs_of(client, experiment))
    assert pages.count(selection) == 23
    assert [pages.counts(selection, number) for number in (22, 23, 24)] == [False, True, False]
    nothing = selection.where("tags.x = 'y'")
    assert (pages.count(nothing), pages.counts(nothing, 0), pages.counts(nothing, 1)) == (0, True, False)
    assert replace(selection, experiment_ids=()).filter == ""


def test_an_experiment_that_the_user_may_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("flask_wtf", reason="MLflow's basic-auth server needs flask-wtf")
    settings = tmp_path / "auth.ini"
    settings.write_text(
        "[mlflow]\ndefault_permission = NO_PERMISSIONS\n"
        f"database_uri = sqlite:///{tmp_path}/auth.db\nadmin_username = admin\nadmin_password = admins-own-1234\n"
        "authorization_function = mlflow.server.auth:authenticate_request_basic_auth\n"
    )
    environ = {"MLFLOW_AUTH_CONFIG_PATH": str(settings), "MLFLOW_FLASK_SERVER_SECRET_KEY": "test"}

    def log_in(user: str, password: str) -> None:
        monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", user)
        monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", password)

    with running_server(tmp_path / "server", options=("--app-name", "basic-auth"), environ=environ) as uri:
        with pytest.raises(TrackingError, match="MLFLOW_TRACKING_USERNAME"):
            server.connect(uri)
        log_in("admin", "admins-own-1234")
        client = server.connect(uri)
        log(client, "secret", 0)
        assert models(benchmarks(client, ["secret"], folder=tmp_path)) == ["model_0"]
        from mlflow.server.auth.client import AuthServiceClient

        AuthServiceClient(uri).create_user("reader", "readers-own-1234")
        log_in("reader", "readers-own-1234")
        with pytest.raises(TrackingError, match=r"secret.*MLFLOW_TRACKING_USERNAME"):
            benchmarks(server.connect(uri), ["secret"], folder=tmp_path)


def test_view_types_are_what_the_rest_api_calls_them() -> None:
    assert ViewType.to_string(ViewType.DELETED_ONLY).upper() == "DELETED_ONLY"


def test_a_database_is_read_as_mlflow_reads_it(database: str, experiment: str) -> None:
    client = server.connect(database)
    first, second, third = log(client, experiment, 0, 1, 2)
    client.log_metric(first, schema.TOP1.key, math.nan)
    client.log_metric(second, schema.TOP1.key, math.inf)
    client.log_metric(second, "own metric", 1.0)
    client.set_tag(second, "own.tag", "x")
    client.delete_run(third)
    experiment_id = server.ensure_experiment(client, experiment)
    client.create_run(experiment_id, tags=record(5).all_tags())
    ended = pages.Selection(client, (experiment_id,), (IS_BENCHMARK, "attributes.end_time > 0"))
    expected = [row for page in pages.pages(ended) for row in page]
    ours = cache.frame_of(ended_benchmarks(database, [experiment_id]), now_s=0.0)
    theirs = cache.frame_of(expected, now_s=0.0)
    assert len(ours) == 2
    pd.testing.assert_frame_equal(
        ours.sort_values("run_id", ignore_index=True), theirs.sort_values("run_id", ignore_index=True)
    )


def test_the_cache_of_a_database_is_the_same_whichever_way_its_runs_are_read(
    database: str, experiment: str, tmp_path: Path
) -> None:
    client = server.connect(database)
    log(client, experiment, *range(5))
    experiment_id = server.ensure_experiment(client, experiment)
    selection = pages.Selection(client, (experiment_id,), (IS_BENCHMARK,))
    direct = partial(ended_benchmarks, database, (experiment_id,))

    def both() -> list[set[tuple[str, str]]]:
        found = [cache.refreshed(selection, folder=tmp_path / name, direct=way) for name, way in ways.items()]
        return [set(zip(runs.frame["run_id"], runs.frame["model"], strict=True)) for runs in found]

    ways = {"search": None, "direct": direct}
    first, other = both()
    assert first == other
    assert len(first) == 5
    (gone, *_) = log(client, experiment, 6, 7)
    client.delete_run(gone)
    first, other = both()
    assert first == other
    assert len(first) == 6
    client.restore_run(gone)
    first, other = both()
    assert first == other
    assert len(first) == 7


@pytest.mark.parametrize(
    ("last_day", "days", "months"),
    [(20, 0, ["2026-11"]), (20, 10, ["2026-11", "2026-12"]), (1, 0, ["2026-10", "2026-11"]), (20, 200, ["2"])],
)
def test_a_refresh_asks_for_the_months_since_the_last(last_day: int, days: int, months: list[str]) -> None:
    last_s = pd.Timestamp(f"2026-11-{last_day:02}", tz="UTC").timestamp()
    runs = cache.Runs(pd.DataFrame({cache.CHECKED: [last_s]}))
    filters = cache._attached_since(runs, now_s=last_s + days * 86_400)
    assert [f.partition(" LIKE ")[2] for f in filters] == [f"'{month}%'" for month in months]
