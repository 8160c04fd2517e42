"""Training scripts like those of users: each ends with FRM in its run, or with one line that explains why not."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import mlflow
import pytest

SCRIPTS = Path(__file__).parent / "scripts"
FAST = ("plain_loop", "lightning_mlflow_autolog")
"""Scripts that `make test` runs; the others are slow."""
WITHOUT_FRM = {"sklearn_onnx", "ssdlite", "faster_rcnn", "quantised"}
"""Scripts whose network may have no FRM; one line then gives the reason."""
MACS = {
    "plain_loop": 4 * 9 * 36 + 144 * 10,
    "lightning_plain": 4 * 9 * 36 + 144 * 10,
    "lightning_mlflow_autolog": 4 * 9 * 36 + 144 * 10,
    "lightning_autolog_reversed": 4 * 9 * 36 + 144 * 10,
    "lightning_logger": 4 * 9 * 36 + 144 * 10,
    "ddp": 4 * 9 * 36 + 144 * 10,
    "pruned": 4 * 9 * 36 + 144 * 10,
    "lstm": 12 * 4 * 64 * (20 + 64),
    "gru": 12 * 3 * 64 * (20 + 64),
}
"""Multiply-accumulates of one call by hand: four filters of 3 x 3 on 6 x 6 positions, ..."""

RESOLUTIONS = {"faster_rcnn": "320", "ssdlite": "320"}
"""Side of the image that a detector takes in a list."""


@dataclass(frozen=True)
class Ended:
    lines: list[str]
    runs: list[mlflow.entities.Run]
    output: str


def run(script: str, folder: Path) -> Ended:
    uri = f"sqlite:///{folder}/mlflow.db"
    client = mlflow.MlflowClient(uri)
    experiment = client.create_experiment("scripts", artifact_location=(folder / "artifacts").as_uri())
    environment = os.environ | {"MLFLOW_TRACKING_URI": uri, "MLFLOW_EXPERIMENT_NAME": "scripts", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, SCRIPTS / f"{script}.py"]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    output = done.stdout + done.stderr
    assert "Traceback" not in output, output[-4000:]
    lines = [line for line in output.splitlines() if re.match(r"FRM |'.*' was benchmarked", line)]
    return Ended(lines, list(client.search_runs([experiment])), output)


def every_script():
    for path in sorted(SCRIPTS.glob("*.py")):
        if path.stem != "common":
            yield pytest.param(path.stem, marks=() if path.stem in FAST else pytest.mark.slow)


@pytest.mark.parametrize("script", list(every_script()))
def test_a_script_ends_with_frm_or_a_reason(script, tmp_path):
    ended = run(script, tmp_path)
    assert len(ended.lines) == 1, ended.output[-3000:]
    (line,) = ended.lines
    assert len(ended.output) < 20_000, "a graph was printed"
    (logged,) = ended.runs
    if script in RESOLUTIONS:
        assert logged.data.tags["frm.resolution"] == RESOLUTIONS[script]
    figure = logged.data.metrics.get("frm")
    if figure is None:
        assert script in WITHOUT_FRM
        assert re.match(r"FRM was not measured: .{20,}|'.*' was benchmarked .* without FRM: .{10,}", line)
        return
    assert re.fullmatch(rf"FRM [\d.e-]+ of '\w+' was logged to run {logged.info.run_id} \(\d+ s\)\.", line)
    assert float(line.split()[1]) == pytest.approx(figure, rel=1e-3)
    assert logged.info.status == "FINISHED"
    assert not [key for key in logged.data.metrics if key.startswith("tracking/")]
    if script in MACS:
        assert logged.data.metrics["compute/gmacs"] == pytest.approx(MACS[script] / 1e9)
