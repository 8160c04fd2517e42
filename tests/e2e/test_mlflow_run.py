"""The README's main command, run like a user runs it: `mlflow run .` in this checkout."""

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from mlflow import MlflowClient

from frm_mlflow import schema

PROJECT = Path(__file__).parents[2]
ALWAYS = (
    schema.LATENCY_P50,
    schema.LATENCY_MEAN,
    schema.LATENCY_P90,
    schema.LATENCY_SAMPLES,
    schema.LATENCY_BLOCK_CV,
    schema.MEMORY_PEAK,
    schema.MEMORY_WEIGHTS,
    schema.GMACS,
    schema.PARAMS_M,
    schema.TOP1,
    schema.RATIO_FLOPS,
    schema.RATIO_LATENCY,
    schema.RATIO_MEMORY,
    schema.FRM,
    schema.IDENTITY_COSINE,
    schema.IDENTITY_ERROR,
)
TAGS = (
    schema.KIND,
    schema.SCHEMA,
    schema.MODEL,
    schema.FAMILY,
    schema.DEVICE,
    schema.TIER,
    schema.RUNTIME,
    schema.PRECISION,
    schema.BATCH_SIZE,
    schema.COMPUTE_UNIT,
    schema.BASELINE,
    schema.SOURCE,
    schema.ACCURACY_SOURCE,
)
QUICK = ("-P", "measure=paper", "--experiment-name", "e2e")


@pytest.fixture(scope="session")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A machine without pyenv, with an environment prepared by `make setup`."""
    beside = Path(sys.executable).parent
    folders = [f for f in os.environ["PATH"].split(os.pathsep) if not shutil.which("pyenv", path=f)]
    prepared = os.environ | {
        "PATH": os.pathsep.join([str(beside), *folders]),
        "MLFLOW_ENV_ROOT": str(tmp_path_factory.mktemp("envs")),
        "FRM_MLFLOW_SPOOL": str(tmp_path_factory.mktemp("spool")),
    }
    assert shutil.which("pyenv", path=prepared["PATH"]) is None
    link = [str(beside / "frm-mlflow"), "link-env", "--project", str(PROJECT)]
    subprocess.run(link, env=prepared, check=True, capture_output=True)
    return prepared


def mlflow_run(arguments: Sequence[str], uri: str, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    command = ["mlflow", "run", str(PROJECT), *arguments]
    where = environment | {"MLFLOW_TRACKING_URI": uri}
    return subprocess.run(command, env=where, capture_output=True, text=True, timeout=600, check=False)


def test_models_by_runtimes_are_logged_as_children_with_every_key(
    mlflow_server: str, environment: dict[str, str]
) -> None:
    models = (
        "-P",
        "models=mobilenet_v3_small,levit_128s",
        "-P",
        "baseline=resnet18",
        "-P",
        "runtimes=torch,onnxruntime",
    )
    result = mlflow_run(("-P", "device=cpu", *models, *QUICK), mlflow_server, environment)
    assert result.returncode == 0, result.stderr[-3000:]

    client = MlflowClient(mlflow_server)
    experiment = client.get_experiment_by_name("e2e")
    runs = client.search_runs([experiment.experiment_id])
    parents = [run for run in runs if run.data.tags.get(schema.KIND.key) == schema.KIND_SWEEP]
    children = [run for run in runs if run.data.tags.get("mlflow.parentRunId") == parents[0].info.run_id]
    assert len(parents) == 1
    assert {run.info.status for run in runs} == {"FINISHED"}
    expected = {(m, r) for m in ("mobilenet_v3_small", "levit_128s", "resnet18") for r in ("torch", "onnxruntime")}
    assert {(c.data.tags["frm.model"], c.data.tags["frm.runtime"]) for c in children} == expected
    assert len(children) == 6

    for child in children:
        assert {m.key for m in ALWAYS} - set(child.data.metrics) == set()
        assert {t.key for t in TAGS} - set(child.data.tags) == set()
        metrics = child.data.metrics
        by_hand = (metrics["ratio/flops"] * metrics["ratio/latency"] * metrics["ratio/memory"]) ** (1 / 3)
        assert metrics["frm"] == pytest.approx(by_hand, abs=1e-9)
        assert metrics["latency/samples"] >= 100
        assert metrics["identity/cosine"] > 0.999
        assert "latency/p50_low_ms" not in metrics, "one launch has no interval"
        assert child.data.tags["frm.protocol"] == "paper"
        assert child.data.params["measure.runs"] == "100"
        if child.data.tags["frm.model"] == "resnet18":
            assert [metrics[key] for key in ("frm", "ratio/latency", "ratio/memory", "ratio/flops")] == [1, 1, 1, 1]
        files = {item.path for item in client.list_artifacts(child.info.run_id)}
        assert {"samples.parquet", "environment.json", "config.yaml"} <= files

    published = {item.path for item in client.list_artifacts(parents[0].info.run_id)}
    assert {"leaderboard.json", "leaderboard.csv", "accuracy_frm.html"} <= published
    assert "mobilenet_v3_small" in parents[0].data.tags["mlflow.note.content"]


@pytest.mark.skipif(shutil.which("nvidia-smi") is not None, reason="this machine may really have an A100")
def test_a_device_that_is_not_here_is_refused_in_one_sentence(mlflow_server: str, environment: dict[str, str]) -> None:
    result = mlflow_run(("-P", "device=a100", "--experiment-name", "refused"), mlflow_server, environment)

    assert result.returncode != 0
    said = [line for line in result.stderr.splitlines() if line.startswith("frm-mlflow: ")]
    assert len(said) == 1
    assert "a100" in said[0]
    assert "device=" in said[0]
    client = MlflowClient(mlflow_server)
    runs = client.search_runs([client.get_experiment_by_name("refused").experiment_id])
    assert {run.info.status for run in runs} <= {"FAILED"}
    assert not [run for run in runs if run.data.tags.get("frm.device") == "a100"]


def test_any_hydra_key_can_be_given_as_a_parameter(mlflow_server: str, environment: dict[str, str]) -> None:
    result = mlflow_run(("-P", "device=cpu", "-P", "measure.runs=0", *QUICK), mlflow_server, environment)

    assert result.returncode != 0
    assert "measure.runs must be at least 1, got 0" in result.stderr
