from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import mlflow
import pandas as pd
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run
from records import CONFIGURATION, START, record

from frm_mlflow import schema
from frm_mlflow.errors import TrackingError
from frm_mlflow.records import ImplausibleError
from frm_mlflow.tracking import server, spool
from frm_mlflow.tracking.artifacts import log_table
from frm_mlflow.tracking.create import create_run
from frm_mlflow.tracking.resume import close_orphans, completed, unfinished_sweep
from frm_mlflow.tracking.run_files import RunFiles
from frm_mlflow.tracking.runs import Sweep, open_sweep
from frm_mlflow.tracking.summary import Summary


@pytest.fixture
def client(mlflow_server: str) -> MlflowClient:
    return server.connect(mlflow_server)


def runs_of(client: MlflowClient, experiment: str) -> list[Run]:
    found = client.get_experiment_by_name(experiment)
    return [] if found is None else list(client.search_runs([found.experiment_id], max_results=1000))


def children(client: MlflowClient, sweep: Sweep) -> list[Run]:
    condition = f"tags.`mlflow.parentRunId` = '{sweep.run_id}'"
    return list(client.search_runs([sweep.experiment_id], condition))


def artifact(client: MlflowClient, run_id: str, path: str) -> Path:
    return Path(client.download_artifacts(run_id, path))


def test_a_finished_benchmark_has_its_record_and_its_files(client: MlflowClient, experiment: str) -> None:
    samples = pd.DataFrame({"block": [0, 0, 1], "wall_ns": [10, 11, 12]})
    files = RunFiles(samples, {"cpu": "test"}, "measure:\n  runs: 100\n")
    opened = open_sweep(client, experiment, name="sweep", params={"seed": "1"})
    with opened as sweep, sweep.benchmark(name="opened as this", tags=CONFIGURATION.tags()) as run:
        outcome = run.finish(record(), files)
    logged = client.get_run(outcome.run_id)
    assert logged.info.status == "FINISHED"
    assert logged.info.run_name == "model_0 · test_cpu · onnxruntime · fp32"
    assert logged.data.metrics == record().metrics
    assert logged.data.params == {"measure.runs": "100"}
    assert record().all_tags().items() <= logged.data.tags.items()
    assert "| latency (median) | 10 ms |" in logged.data.tags["mlflow.note.content"]
    kept = client.get_experiment(logged.info.experiment_id).tags
    assert (kept["mlflow.experiment.primaryMetric.name"], "Benchmarks" in kept["mlflow.note.content"]) == ("frm", True)
    assert logged.data.tags["mlflow.parentRunId"] == sweep.run_id
    pd.testing.assert_frame_equal(pd.read_parquet(artifact(client, outcome.run_id, "samples.parquet")), samples)
    assert json.loads(artifact(client, outcome.run_id, "environment.json").read_text()) == {"cpu": "test"}
    assert artifact(client, outcome.run_id, "config.yaml").read_text() == "measure:\n  runs: 100\n"
    parent = client.get_run(sweep.run_id)
    assert (parent.info.status, parent.data.params) == ("FINISHED", {"seed": "1"})


def test_a_metric_has_the_time_of_its_measurement(client: MlflowClient, experiment: str) -> None:
    with open_sweep(client, experiment, name="sweep") as sweep, sweep.benchmark(name="b") as run:
        outcome = run.finish(record())
    history = client.get_metric_history(outcome.run_id, schema.FRM.key)
    assert [m.timestamp for m in history] == [round((START.timestamp() + 30) * 1000)]


def test_a_benchmark_with_nan_or_infinite_metrics_fails(client: MlflowClient, experiment: str) -> None:
    metrics = {schema.LATENCY_P50.key: 1.0, schema.FRM.key: math.nan, schema.MEMORY_PEAK.key: math.inf}
    with open_sweep(client, experiment, name="sweep") as sweep:
        with pytest.raises(ImplausibleError, match=r"frm = nan .*memory_mib = inf"), sweep.benchmark(name="b") as run:
            run.finish(record(metrics=metrics))
        failed = sweep.failures[0]
    logged = client.get_run(failed.run_id)
    assert logged.info.status == "FAILED"
    assert not {schema.FRM.key, schema.LATENCY_P50.key} & set(logged.data.metrics)


def test_many_params_and_long_values_are_logged(client: MlflowClient, experiment: str) -> None:
    params = {f"p{i}": str(i) for i in range(250)} | {"long": "x" * 9000}
    with open_sweep(client, experiment, name="sweep") as sweep, sweep.benchmark(name="b") as run:
        outcome = run.finish(record(params=params))
    logged = client.get_run(outcome.run_id).data.params
    assert logged.keys() == params.keys()
    assert logged["p249"] == "249"
    assert logged["long"].endswith("x…")


def test_an_exception_fails_only_its_benchmark(client: MlflowClient, experiment: str) -> None:
    with open_sweep(client, experiment, name="sweep") as sweep:
        with pytest.raises(ValueError, match="no kernel"), sweep.benchmark(name="broken", tags=CONFIGURATION.tags()):
            raise ValueError("no kernel for conv\nlast output of the worker")
        with sweep.benchmark(name="whole") as run:
            run.finish(record())
    status = {run.info.run_name: run for run in children(client, sweep)}
    broken = status["broken"]
    assert broken.info.status == "FAILED"
    assert broken.data.tags[schema.REASON.key].startswith("no kernel for conv")
    assert broken.data.tags[schema.DEVICE.key] == "test_cpu"
    assert "last output" in artifact(client, broken.info.run_id, "worker.log").read_text()
    assert status[record().name].info.status == "FINISHED"
    parent = client.get_run(sweep.run_id)
    assert parent.info.status == "FAILED"
    assert parent.data.tags[schema.REASON.key] == "1 of 2 benchmarks failed: broken"


def test_a_reason_of_several_lines_is_also_logged_as_a_file(client: MlflowClient, experiment: str) -> None:
    with open_sweep(client, experiment, name="sweep") as sweep, sweep.benchmark(name="b") as run:
        outcome = run.end("FAILED", "killed by signal 9\nloading")
    assert client.get_run(outcome.run_id).info.status == "FAILED"
    assert artifact(client, outcome.run_id, "worker.log").read_text() == "killed by signal 9\nloading"


def test_a_benchmark_without_a_result_has_failed(client: MlflowClient, experiment: str) -> None:
    with open_sweep(client, experiment, name="sweep") as sweep, sweep.benchmark(name="b"):
        pass
    assert [outcome.reason for outcome in sweep.failures] == ["ended without a result"]


def test_ctrl_c_kills_only_the_open_benchmark(client: MlflowClient, experiment: str) -> None:
    with pytest.raises(KeyboardInterrupt), open_sweep(client, experiment, name="sweep") as sweep:  # noqa: PT012
        with sweep.benchmark(name="first") as run:
            run.finish(record())
        with sweep.benchmark(name="second"):
            raise KeyboardInterrupt
    assert {r.info.run_name: r.info.status for r in runs_of(client, experiment)} == {
        "sweep": "KILLED",
        record().name: "FINISHED",
        "second": "KILLED",
    }


def test_ctrl_c_while_a_benchmark_opens_closes_it(
    client: MlflowClient, experiment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*args: object, **kwargs: object) -> str:
        create_run(*args, **kwargs)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), open_sweep(client, experiment, name="sweep") as sweep:  # noqa: PT012
        monkeypatch.setattr("frm_mlflow.tracking.runs.create_run", interrupted)
        with sweep.benchmark(name="half open"):
            pytest.fail("the interrupt comes first")
    assert [r.info.status for r in runs_of(client, experiment)] == ["KILLED", "KILLED"]


def test_sigterm_leaves_no_run_running(mlflow_server: str, experiment: str) -> None:
    program = (
        "import sys, time\n"
        "from frm_mlflow.tracking import server\n"
        "from frm_mlflow.tracking.runs import open_sweep\n"
        "client = server.connect(sys.argv[1])\n"
        "with open_sweep(client, sys.argv[2], name='sweep') as sweep, sweep.benchmark(name='b'):\n"
        "    print('open', flush=True)\n"
        "    time.sleep(60)\n"
    )
    command = [sys.executable, "-c", program, mlflow_server, experiment]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"open\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) != 0
    statuses = [r.info.status for r in runs_of(MlflowClient(mlflow_server), experiment)]
    assert statuses == ["KILLED", "KILLED"]


def test_the_run_of_mlflow_run_becomes_the_parent(client: MlflowClient, experiment: str) -> None:
    experiment_id = server.ensure_experiment(client, experiment)
    project = client.create_run(experiment_id, run_name="project")
    client.log_param(project.info.run_id, "device", "cpu")
    environ = {"MLFLOW_RUN_ID": project.info.run_id}
    opened = open_sweep(client, "another experiment", name="s", params={"device": "x"}, environ=environ)
    with opened as sweep, sweep.benchmark(name="b") as run:
        run.finish(record())
    assert environ == {}
    assert (sweep.run_id, sweep.experiment_id) == (project.info.run_id, experiment_id)
    assert client.get_run(sweep.run_id).data.params == {"device": "cpu"}
    assert client.get_run(sweep.run_id).info.status == "FINISHED"
    assert len(children(client, sweep)) == 1
    assert client.get_experiment_by_name("another experiment") is None


def test_the_fluent_api_is_not_touched(client: MlflowClient, experiment: str) -> None:
    with open_sweep(client, experiment, name="sweep"):
        assert mlflow.active_run() is None


def test_a_finished_benchmark_cannot_end_twice(client: MlflowClient, experiment: str) -> None:
    with open_sweep(client, experiment, name="sweep") as sweep, sweep.benchmark(name="b") as run:
        run.finish(record())
        with pytest.raises(TrackingError, match="has already ended"):
            run.finish(record(1))


def test_resume_skips_finished_runs_and_closes_open_ones(client: MlflowClient, experiment: str) -> None:
    experiment_id = server.ensure_experiment(client, experiment)
    tags = {schema.CONFIG_HASH.key: "sweephash"}
    with pytest.raises(RuntimeError), open_sweep(client, experiment, name="s", tags=tags) as sweep:  # noqa: PT012
        with sweep.benchmark(name="a") as run:
            done = run.finish(record(1))
        orphan = client.create_run(experiment_id, tags={"mlflow.parentRunId": sweep.run_id})
        raise RuntimeError
    assert unfinished_sweep(client, experiment, config_hash="sweephash") == sweep.run_id
    assert close_orphans(client, sweep.run_id, reason="resumed") == 1
    assert client.get_run(orphan.info.run_id).info.status == "KILLED"
    assert completed(client, experiment_id, parent_run_id=sweep.run_id) == {"hash1": done.run_id}
    with open_sweep(client, experiment, name="s", parent_run_id=sweep.run_id) as again:
        assert client.get_run(again.run_id).info.status == "RUNNING"
    assert unfinished_sweep(client, experiment, config_hash="sweephash") is None


def test_tables_and_figures(client: MlflowClient, experiment: str) -> None:
    from plotly.graph_objects import Figure

    with open_sweep(client, experiment, name="analysis", kind=schema.KIND_ANALYSIS) as sweep:
        log_table(client, sweep.run_id, pd.DataFrame({"model": ["a"], "frm": [1.0]}), "tables/frm")
        log_table(client, sweep.run_id, pd.DataFrame({"model": ["b"], "frm": [2.0]}), "tables/frm")
        sweep.summary = Summary("# Summary", figures={"frm": Figure()})
    table = json.loads(artifact(client, sweep.run_id, "tables/frm.json").read_text())
    assert table == {"columns": ["model", "frm"], "data": [["b", 2.0]]}
    assert artifact(client, sweep.run_id, "tables/frm.csv").read_text() == "model,frm\nb,2.0\n"
    page = artifact(client, sweep.run_id, "frm.html").read_text()
    assert "cdn.plot" not in page.split("<script", 1)[0]
    assert len(page) > 1_000_000, "plotly itself must be inside, or the figure is blank without a network"
    parent = client.get_run(sweep.run_id)
    assert parent.data.tags["mlflow.note.content"] == "# Summary"
    assert parent.data.tags[schema.KIND.key] == "analysis"


def sweep_command(uri: str, experiment: str, offset: int, count: int) -> list[str]:
    program = (
        "import sys\n"
        "from records import record\n"
        "from frm_mlflow.tracking import server\n"
        "from frm_mlflow.tracking.run_files import RunFiles\n"
        "from frm_mlflow.tracking.runs import open_sweep\n"
        "uri, experiment, offset, count = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])\n"
        "with open_sweep(server.connect(uri), experiment, name=f'sweep {offset}') as sweep:\n"
        "    for number in range(offset, offset + count):\n"
        "        with sweep.benchmark(name=str(number)) as run:\n"
        "            run.finish(record(number), RunFiles(config=str(number)))\n"
    )
    return [sys.executable, "-c", program, uri, experiment, str(offset), str(count)]


@pytest.mark.parametrize("store", ["server", "database"])
def test_two_sweeps_at_once_lose_and_mix_nothing(
    store: str, mlflow_server: str, experiment: str, tmp_path: Path
) -> None:
    uri = mlflow_server if store == "server" else f"sqlite:///{tmp_path}/fresh.db"
    environ = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    commands = [sweep_command(uri, experiment, offset, 6) for offset in (0, 100)]
    processes = [subprocess.Popen(c, env=environ, cwd=tmp_path, stderr=subprocess.PIPE) for c in commands]
    for process in processes:
        _, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors.decode()
    client = MlflowClient(uri)
    runs = runs_of(client, experiment)
    parents = {r.info.run_id: r.info.run_name for r in runs if r.data.tags[schema.KIND.key] == schema.KIND_SWEEP}
    assert sorted(parents.values()) == ["sweep 0", "sweep 100"]
    assert {r.info.status for r in runs} == {"FINISHED"}
    logged = [r for r in runs if r.info.run_id not in parents]
    assert len(logged) == 12
    for run in logged:
        number = int(run.data.tags[schema.MODEL.key].removeprefix("model_"))
        assert run.data.metrics[schema.LATENCY_P50.key] == 10.0 + number
        assert parents[run.data.tags["mlflow.parentRunId"]] == f"sweep {number // 100 * 100}"
        assert artifact(client, run.info.run_id, "config.yaml").read_text() == str(number)


def test_a_server_that_is_down_is_reported_within_seconds() -> None:
    start = time.monotonic()
    with pytest.raises(TrackingError, match=r"http://127\.0\.0\.1:9.*mlflow server.*MLFLOW_TRACKING_URI"):
        server.connect("http://127.0.0.1:9")
    assert time.monotonic() - start < 30, "MLflow itself would try for minutes"


def test_an_unreadable_database_is_reported_within_seconds(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    start = time.monotonic()
    with pytest.raises(TrackingError, match=r"file/mlflow\.db cannot be opened.*MLFLOW_TRACKING_URI"):
        server.connect(f"sqlite:///{tmp_path}/file/mlflow.db")
    with pytest.raises(TrackingError, match=r"127\.0\.0\.1:9/x cannot be opened"):
        server.connect("postgresql://127.0.0.1:9/x")
    assert time.monotonic() - start < 60, "MLflow itself would try for minutes"


def test_a_deleted_experiment_is_refused_with_the_remedy(client: MlflowClient, experiment: str) -> None:
    client.delete_experiment(server.ensure_experiment(client, experiment))
    with pytest.raises(TrackingError, match="mlflow experiments restore"):
        server.ensure_experiment(client, experiment)


def test_logged_results_leave_the_spool(client: MlflowClient, experiment: str) -> None:
    with open_sweep(client, experiment, name="sweep") as sweep, sweep.benchmark(name="b") as run:
        run.finish(record())
    assert spool.pending() == []
