"""Shared by the fleet tests: networks that run in microseconds, devices that name their node, the command line."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from mlflow import MlflowClient
from mlflow.entities import Run
from onnx import TensorProto, helper, numpy_helper

from frm_mlflow import schema

FRM_MLFLOW = str(Path(sys.executable).parent / "frm-mlflow")
BASELINE = "net0"
Completed = subprocess.CompletedProcess[str]
QUICK = ("measure=quick", "measure.runs=10", "measure.max_runs=20", "measure.warm_up_seconds=0.05", "runtime.threads=1")


@dataclass(frozen=True)
class Lab:
    """A folder with user-defined networks and devices, and the environment of all processes."""

    folder: Path
    uri: str

    @property
    def conf(self) -> Path:
        return self.folder / "my conf"

    @property
    def environ(self) -> dict[str, str]:
        return {
            "MLFLOW_TRACKING_URI": self.uri,
            "FRM_MLFLOW_SPOOL": str(self.folder / "spool"),
            "XDG_CACHE_HOME": str(self.folder / "cache"),
            "OMP_NUM_THREADS": "1",
        }

    def bench(
        self, *arguments: str, environ: dict[str, str], timeout_s: float = 300
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*arguments),
            env={**os.environ, **self.environ, **environ},
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
            cwd=self.folder,
        )

    def command(self, *arguments: str) -> list[str]:
        return [FRM_MLFLOW, "bench", "--config-dir", str(self.conf), *QUICK, f"baseline={BASELINE}", *arguments]

    def runs(self, experiment: str, kind: str = schema.KIND_BENCHMARK) -> Sequence[Run]:
        client = MlflowClient(self.uri)
        found = client.get_experiment_by_name(experiment)
        return (
            [] if found is None else client.search_runs([found.experiment_id], f"tags.`{schema.KIND.key}` = '{kind}'")
        )


def make_lab(folder: Path, uri: str, *, devices: Sequence[str], models: int) -> Lab:
    """Write the networks `net0` ... and the devices, whose `index` comes from their node's environment."""
    lab = Lab(folder, uri)
    for group in ("model", "device"):
        (lab.conf / group).mkdir(parents=True)
    for number in range(models + 1):
        file = folder / f"net{number}.onnx"
        _network(8 + 8 * number, file)
        text = f"name: net{number}\nsource: onnx\npath: {file}\n"
        (lab.conf / "model" / f"net{number}.yaml").write_text(text)
    for device in devices:
        seen = "index: ${oc.decode:${oc.env:FRM_TEST_NODE,0}}"
        text = f"name: {device}\ntier: cpu\nkind: cpu\nrecognise:\n  cpu: '.'\n{seen}\n"
        (lab.conf / "device" / f"{device}.yaml").write_text(text)
    return lab


def _network(width: int, path: Path) -> None:
    rng = np.random.default_rng(width)
    weights = [
        numpy_helper.from_array((rng.standard_normal(shape) * 0.2).astype(np.float32), name)
        for name, shape in (("w", (width, 3, 3, 3)), ("h", (width, 10)))
    ]
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("GlobalAveragePool", ["r"], ["p"]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("MatMul", ["f", "h"], ["y"]),
    ]
    image = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 32, 32])
    scores = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 10])
    graph = helper.make_graph(nodes, "net", [image], [scores], weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
