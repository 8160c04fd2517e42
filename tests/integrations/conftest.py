from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats
from torch import nn

from frm_mlflow import schema
from frm_mlflow.measure import Identity, Measurement
from frm_mlflow.sweep.record import Measured
from frm_mlflow.worker.manifest import ExportedModel
from tests.integrations.logged import log_torch

GATE_WIDTH = stats.t.ppf(1 - 0.05 / 4 / 2, 4) * np.std([-1, -0.5, 0, 0.5, 1], ddof=1) / np.sqrt(5)
"""Half-width of the first look's interval divided by the largest deviation in `samples`, on a log scale."""


class Net(nn.Module):
    """A convolution with layers that behave differently in training and evaluation."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(4 * 36, 10)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(self.drop(torch.relu(self.norm(self.conv(images)))).flatten(1))


@pytest.fixture
def net() -> Net:
    torch.manual_seed(0)
    return Net()


@pytest.fixture(scope="session")
def two_models(mlflow_server: str) -> tuple[str, str]:
    """The URIs of two models logged by one run, for tests that only read them."""
    mlflow.set_tracking_uri(mlflow_server)
    mlflow.set_experiment("two models")
    torch.manual_seed(0)
    with mlflow.start_run():
        return tuple(log_torch(Net(), name).model_uri for name in ("first", "second"))


@pytest.fixture(autouse=True)
def own_surroundings(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[None]:
    """Keep settings of the developer's shell out of the tests, and MLflow's fluent state inside each test."""
    for name in ("MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_ID", "MLFLOW_EXPERIMENT_NAME", "GITHUB_STEP_SUMMARY"):
        monkeypatch.delenv(name, raising=False)
    cache = tmp_path_factory.getbasetemp() / "integrations-cache"
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    monkeypatch.setenv("FRM_MLFLOW_CONTEXT", "0")
    monkeypatch.chdir(tmp_path)
    yield
    while mlflow.active_run() is not None:
        mlflow.end_run()


@pytest.fixture
def tracking(
    mlflow_server: str, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> mlflow.MlflowClient:
    """A client of the real server, which fluent calls use too, in a separate experiment for each test."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_server)
    mlflow.set_tracking_uri(mlflow_server)
    mlflow.set_experiment(f"{request.module.__name__}.{request.node.name}")
    return mlflow.MlflowClient(mlflow_server)


def samples(ratio: tuple[float, float, float], *, latency_ms: float) -> pd.DataFrame:
    """Return undisturbed runs of five launches with the given median ratio.

    Their spread gives a gate of four rounds about the given interval after the first round.
    """
    value, _, high = ratio
    rows = []
    for launch, offset in enumerate((-1.0, 1.0, 0.0, 0.5, -0.5)):
        of_ratio = value * (high / value) ** (offset / GATE_WIDTH)
        baseline_ns = latency_ms * 1e6 / value
        for role, wall_ns, blocks in (("baseline", baseline_ns, 4), ("model", baseline_ns * of_ratio, 3)):
            rows += [(role, launch, block, index, wall_ns, wall_ns) for block in range(blocks) for index in range(2)]
    return pd.DataFrame(rows, columns=["role", "launch", "block", "index", "wall_ns", "cpu_ns"])


def measurement(ratio: tuple[float, float, float], *, latency_ms: float = 2.0) -> Measurement:
    value, low, high = ratio
    return Measurement(
        metrics={
            schema.LATENCY_P50.key: latency_ms,
            schema.LATENCY_P50_LOW.key: latency_ms * 0.99,
            schema.LATENCY_P50_HIGH.key: latency_ms * 1.01,
            schema.MEMORY_PEAK.key: 10.0,
            schema.RATIO_LATENCY.key: value,
            schema.RATIO_LATENCY_LOW.key: low,
            schema.RATIO_LATENCY_HIGH.key: high,
            schema.RATIO_MEMORY.key: 0.5,
            schema.RATIO_MEMORY_LOW.key: 0.5,
            schema.RATIO_MEMORY_HIGH.key: 0.5,
        },
        baseline_metrics={},
        samples=samples(ratio, latency_ms=latency_ms),
        unstable=(),
        versions={"onnxruntime": "0"},
        identity=Identity(1.0, 0.0, 0.0),
        facts={role: {"memory_peak_mib": [peak] * 5} for role, peak in (("model", 10.0), ("baseline", 20.0))},
    )


@pytest.fixture
def measured_as(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """Make a benchmark end at once with a given ratio or an error; returns the list of requests."""

    def arrange(
        ratio: tuple[float, float, float] = (0.5, 0.49, 0.51),
        *,
        error: Exception | None = None,
        latency_ms: float = 2.0,
    ) -> list[str]:
        asked: list[str] = []

        def measure(plan, bench, update, *, with_baseline):
            assert with_baseline
            model = plan.settings.model
            asked.append(model.name)
            assert model.path is None or Path(model.path).exists()
            if error is not None:
                raise error
            now = datetime.now(timezone.utc)
            facts = {"gmacs": 0.25, "params_m": 1.0, "flops_source": "counted", "input_size": 8}
            exported_model = ExportedModel(model.name, plan.settings.runtime.name, "fp32", "m", (), (), facts=facts)
            baseline = ExportedModel(plan.baseline.name, "onnxruntime", "fp32", "m", (), (), facts={"gmacs": 0.5})
            return Measured(measurement(ratio, latency_ms=latency_ms), exported_model, baseline, now, now)

        monkeypatch.setattr("frm_mlflow.sweep.beside.measure", measure)
        return asked

    return arrange
