"""Each source from its true file through `ingest` onto a real server, and out again into an analysis."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from frm_mlflow import schema
from frm_mlflow.analysis.options import AnalysisOptions
from frm_mlflow.analysis.rows import usable_rows
from frm_mlflow.stages.compose import composed
from frm_mlflow.stages.ingest import ingest
from frm_mlflow.tracking import query, server

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
