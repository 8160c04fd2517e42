"""Each source from a file in its real format through `ingest` to a real server, and from there into an analysis."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pytest
from mlflow import MlflowClient

from frm_mlflow import schema
from frm_mlflow.analysis.options import AnalysisOptions
from frm_mlflow.analysis.rows import usable_rows
from frm_mlflow.runners.ingest import ingest
from frm_mlflow.sweep.compose import composed
from frm_mlflow.tracking import query, server

FRM_MLFLOW = str(Path(sys.executable).parent / "frm-mlflow")
DATA = Path(__file__).parents[1] / "data"
GPU = ("source.given.device=rtx_4090", "source.given.precision=fp16")
PHONE = ("source.given.device=Google Pixel 7", "source.given.precision=fp32")
SOURCES = {
    "trtexec": ("trtexec", ["source.given.model='{stem}'", *GPU], 3),
    "onnxruntime_perf_test": ("onnxruntime_perf_test/mobilenet_v2.txt", ["source.given.model='{stem}'", *PHONE], 1),
    "benchmark_model": ("benchmark_model/mobilenet_v2.txt", [*PHONE], 1),
    "optimum-benchmark": ("optimum-benchmark", ["source.given.device=box"], 1),
    "mlperf": ("mlperf/single_stream", ["source.given.model=resnet50", "source.given.runtime=tensorrt", *GPU], 1),
    "timm": ("timm", [f"source.accuracy={DATA / 'timm' / 'results-imagenet.csv'}"], 25),
}


BASELINES = {
    "trtexec": "resnet50_fp16",
    "onnxruntime_perf_test": "mobilenet_v2",
    "benchmark_model": "mobilenet_v2",
    "optimum-benchmark": "mobilenet_v2",
    "mlperf": "resnet50",
    "timm": "resnet50",
}
"""A model in each sample: a configuration without its baseline is left out."""


def run(uri: str, experiment: str, source: str, path: Path, overrides: Sequence[str]) -> None:
    where = [f"path={path}", f"tracking.uri={uri}", f"tracking.experiment='{experiment}'"]
    ingest(composed("ingest", [f"source={source}", *where, *overrides]))


@pytest.mark.parametrize("source", SOURCES)
def test_a_tools_file_makes_the_round_trip(mlflow_server: str, experiment: str, source: str) -> None:
    path, overrides, number = SOURCES[source]

    for _ in range(2):
        run(mlflow_server, experiment, source, DATA / path, overrides)

    frame = query.benchmarks(server.connect(mlflow_server), [experiment]).frame
    rows, _ = usable_rows(frame, AnalysisOptions())
    assert len(frame) == number, "importing twice adds nothing"
    assert set(frame["source"]) == {f"imported:{source}"}
    assert (frame["latency_ms"] > 0).all()
    assert (frame["latency_statistic"] != "").all()
    assert len(rows) > 0


# Each source needs two processes that import MLflow: one source in CI, all in `make test-all`.
@pytest.mark.parametrize("source", ["trtexec", *(pytest.param(s, marks=pytest.mark.slow) for s in [*SOURCES][1:])])
def test_what_the_command_ingests_the_command_analyses(mlflow_server: str, experiment: str, source: str) -> None:
    path, overrides, number = SOURCES[source]

    command("ingest", f"source={source}", f"path={DATA / path}", *where(mlflow_server, experiment), *overrides)
    arguments = ["analysis=[frm,cost]", f"baseline={BASELINES[source]}", "json=true"]
    answer = json.loads(command("analyze", *arguments, *where(mlflow_server, experiment)))

    client = MlflowClient(mlflow_server)
    board = pd.read_csv(client.download_artifacts(answer["run_id"], "frm/leaderboard.csv"))
    imported = {run.info.run_id for run in runs(client, experiment, f"imported:{source}")}
    assert set(answer["results"]) == {"frm", "cost"}
    assert len(imported) == number
    assert 1 <= len(board) <= number
    assert set(board["run_id"]) <= imported
    assert (board["latency_ms"] > 0).all()


def command(*words: str) -> str:
    """Run `frm-mlflow` like a user, check that it succeeds and return its output."""
    done = subprocess.run([FRM_MLFLOW, *words], capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def where(uri: str, experiment: str) -> list[str]:
    return [f"tracking.uri={uri}", f"tracking.experiment='{experiment}'"]


def runs(client: MlflowClient, experiment: str, source: str) -> list:
    found = client.get_experiment_by_name(experiment)
    benchmark = f"tags.`{schema.KIND.key}` = '{schema.KIND_BENCHMARK}'"
    return client.search_runs([found.experiment_id], f"tags.`{schema.SOURCE.key}` = '{source}' AND {benchmark}")


def test_a_table_and_its_newer_version(mlflow_server: str, experiment: str, tmp_path: Path) -> None:
    table = tmp_path / "mine.csv"
    overrides = ["source.columns={latency_ms: time}", "source.units={latency_ms: us}", "source.given={tier: edge}"]

    table.write_text("model,device,time,date\nresnet50,pi,90000,2026-01-01\nmobilenet_v2,pi,20000,2026-01-01\n")
    run(mlflow_server, experiment, "csv", table, overrides)
    table.write_text("model,device,time,date\nresnet50,pi,80000,2026-02-01\nmobilenet_v2,pi,20000,2026-02-01\n")
    run(mlflow_server, experiment, "csv", table, overrides)

    frame = query.benchmarks(server.connect(mlflow_server), [experiment]).frame
    rows, left_out = usable_rows(frame, AnalysisOptions())
    assert len(frame) == 4, "the old version stays readable"
    assert sorted(rows["latency_ms"]) == [20.0, 80.0]
    assert [(item.reason, item.rows) for item in left_out] == [("superseded by a newer version of its source", 2)]
    assert set(frame[schema.SOURCE_VERSION.column].str[:7]) == {"sha256:"}
