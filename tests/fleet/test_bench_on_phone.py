"""`frm-mlflow bench device=phone`, end to end: its run has the phone's name and state, and the tool's statistic."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from mlflow import MlflowClient

from frm_mlflow import schema
from tests.fleet.phone import OFFLINE, FakePhone, perf_test, program

FRM_MLFLOW = str(Path(sys.executable).parent / "frm-mlflow")
NETWORK = ("model=target", "model.target=tests.models.user_networks:residual", "model.name=residual")
SMALL = ("model.input_size=32", "baseline=squeezenet1_1", "measure=quick", "runtime.threads=1", "accuracy=published")


def bench(phone: FakePhone, tmp_path: Path, uri: str, experiment: str) -> subprocess.CompletedProcess[str]:
    tool = program(tmp_path, "onnxruntime_perf_test")
    reach = ("device=phone", f"device.binary={tool}", "device.tool=onnxruntime_perf_test")
    command = [FRM_MLFLOW, "bench", *reach, *NETWORK, *SMALL, f"tracking.experiment={experiment}"]
    own = {"MLFLOW_TRACKING_URI": uri, "PYTHONPATH": str(Path(__file__).parents[2])}
    return subprocess.run(
        command, capture_output=True, text=True, env=os.environ | own | phone.environment, check=False, cwd=tmp_path
    )


def test_a_benchmark_on_a_phone_is_logged_and_one_that_is_unplugged_is_failed(mlflow_server: str, tmp_path: Path):
    phone = FakePhone.plugged_in(tmp_path / "adb", shots={"*": [perf_test(0.010), perf_test(0.0101)]})
    done = bench(phone, tmp_path, mlflow_server, "on-a-phone")
    assert done.returncode == 0, done.stderr
    client = MlflowClient(mlflow_server)
    [experiment] = client.search_experiments(filter_string="name = 'on-a-phone'")
    [run] = client.search_runs([experiment.experiment_id], f"tags.`{schema.MODEL.key}` = 'residual'")
    assert run.info.status == "FINISHED"
    tags = {tag: run.data.tags.get(tag.key) for tag in (schema.DEVICE, schema.CHIP, schema.TIER, schema.RUNTIME)}
    assert list(tags.values()) == ["Samsung Galaxy S23", "Snapdragon 8 Gen 2", "edge", "onnxruntime"]
    assert run.data.tags[schema.LATENCY_STATISTIC.key] == "p50"
    assert run.data.tags[schema.MEMORY_DEFINITION.key] == "process_peak"
    assert run.data.tags[schema.RATIO_SOURCE.key] == schema.RATIO_INTERLEAVED
    assert run.data.metrics[schema.RATIO_LATENCY.key] == 1.0 or 0.98 < run.data.metrics[schema.RATIO_LATENCY.key] < 1.02
    [name] = [a.path for a in client.list_artifacts(run.info.run_id) if a.path.endswith("environment.json")]
    there = json.loads(Path(client.download_artifacts(run.info.run_id, name, str(tmp_path))).read_text())
    assert there["android"]["ro.product.model"] == "SM-S911B"
    assert there["measurement"]["before"]["governors"]["policy0"] == "walt"

    phone.replay(shots={"*": [perf_test(0.010)]}, fail={"timeout": OFFLINE})
    done = bench(phone, tmp_path, mlflow_server, "unplugged")
    assert done.returncode == 1
    [experiment] = client.search_experiments(filter_string="name = 'unplugged'")
    children = [r for r in client.search_runs([experiment.experiment_id]) if schema.MODEL.key in r.data.tags]
    assert {r.info.status for r in children} == {"FAILED"}
    assert all("adb reconnect offline" in r.data.tags[schema.REASON.key] for r in children)
    assert not any(r.data.metrics for r in children)
