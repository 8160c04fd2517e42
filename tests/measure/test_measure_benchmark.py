"""A complete benchmark with real workers and a real runtime."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from small_networks import small_network

from frm_mlflow.config import MeasureConfig, RuntimeConfig
from frm_mlflow.devices import Device
from frm_mlflow.errors import IdentityError
from frm_mlflow.measure import Measurement, benchmark

CPU = Device("cpu", "cpu", "cpu", "a chip", "cpu")
SHORT = MeasureConfig(
    runs=20, max_runs=100, max_seconds=5, target_interval=0.2, warm_up_runs=3, warm_up_seconds=0.05, resamples=200
)


def measure(model: Path, baseline: Path | None) -> Measurement:
    return benchmark(
        exported_model=model,
        baseline=baseline,
        device=CPU,
        runtime=RuntimeConfig("onnxruntime", threads=1),
        config=SHORT,
        rng=np.random.default_rng(0),
    )


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("networks")
    return {
        "small": small_network("onnxruntime", folder / "small", side=96, width=16),
        "large": small_network("onnxruntime", folder / "large", side=96, width=256, depth=4),
    }


def test_sixty_times_the_work_is_slower_and_needs_more_memory(networks: dict[str, Path]):
    measured = measure(networks["large"], networks["small"])
    assert measured.metrics["ratio/latency"] > 3
    assert measured.metrics["ratio/memory"] > 1
    assert measured.metrics["ratio/latency_low"] <= measured.metrics["ratio/latency"]
    assert measured.identity.cosine > 0.99999
    assert measured.versions["onnxruntime"]
    assert measured.memory_definition.startswith("rss_peak")
    assert measured.facts["model"]["runtime"]["providers"] == ["CPUExecutionProvider"]
    assert measured.metrics["latency/p50_ms"] == pytest.approx(
        measured.samples.query("role == 'model'")["wall_ns"].median() / 1e6
    )


def test_swapping_the_two_gives_about_the_reciprocal(networks: dict[str, Path]):
    there = measure(networks["large"], networks["small"]).metrics["ratio/latency"]
    back = measure(networks["small"], networks["large"]).metrics["ratio/latency"]
    assert there * back == pytest.approx(1, rel=0.5)


def test_an_exported_model_with_other_weights_is_refused(networks: dict[str, Path], tmp_path: Path):
    other = shutil.copytree(networks["small"], tmp_path / "other")
    reference = dict(np.load(other / "reference.npz"))
    reference["output_0"] = reference["output_0"][:, ::-1]
    np.savez(other / "reference.npz", **reference)
    with pytest.raises(IdentityError, match="computes something else"):
        measure(other, None)
