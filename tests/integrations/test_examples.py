"""Every example runs like a reader would run it, against a real server, and must log FRM to its own run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import mlflow
import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
RUNS = {
    "pytorch_loop": "pytorch loop",
    "lightning_callback": "lightning",
    "transformers_trainer": "transformers",
    "sklearn_onnx": "scikit-learn through ONNX",
    "evaluate_model": "evaluate",
}


def test_no_example_is_forgotten():
    assert {path.stem for path in EXAMPLES.glob("*.py")} == {*RUNS, "digits"}


@pytest.mark.parametrize("example", RUNS)
def test_an_example_leaves_its_frm_in_its_own_run(example, mlflow_server, tmp_path):
    environment = os.environ | {"MLFLOW_TRACKING_URI": mlflow_server, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, EXAMPLES / f"{example}.py"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    client = mlflow.MlflowClient(mlflow_server)
    experiment = client.get_experiment_by_name("examples")
    (run,) = client.search_runs([experiment.experiment_id], f"attributes.run_name = '{RUNS[example]}'")
    assert run.info.status == "FINISHED"
    assert "frm.reason" not in run.data.tags
    assert 0 < run.data.metrics["frm"] < 1
    assert run.data.metrics["compute/gmacs"] > 0
    if example == "lightning_callback":  # a third of one layer is pruned per epoch
        history = client.get_metric_history(run.info.run_id, "compute/effective_gmacs")
        assert len(history) == 2
        assert history[1].value < history[0].value < run.data.metrics["compute/gmacs"]
