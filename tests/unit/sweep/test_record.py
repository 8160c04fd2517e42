"""What a run records about its exported model: similarity to the reference, and what really ran quantised."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timezone
from typing import Any

import hydra
import numpy as np
import pandas as pd
import pytest

from frm_mlflow import schema
from frm_mlflow.config import ModelConfig
from frm_mlflow.devices import Device
from frm_mlflow.measure import Identity, Measurement
from frm_mlflow.records import BenchmarkRecord
from frm_mlflow.sweep.plan import plan_benchmarks
from frm_mlflow.sweep.record import Measured, record_of, resolution_of
from frm_mlflow.worker.manifest import ExportedModel, TensorSpec

NOON = datetime(2026, 1, 1, 12, tzinfo=timezone.utc)


@pytest.fixture(autouse=True)
def _hydra() -> Iterator[None]:
    with hydra.initialize_config_module("frm_mlflow.conf", version_base="1.3"):
        yield


def record(
    precision: str, *, metrics: dict[str, float] | None = None, of_the_baseline: bool = False, **facts: Any
) -> BenchmarkRecord:
    overrides = ["model=resnet18", f"precision={precision}", "device=cpu"]
    plan = plan_benchmarks(
        hydra.compose("bench", overrides=overrides), overrides, lambda words: hydra.compose("bench", overrides=words)
    )[1]
    measurement = Measurement(
        metrics=metrics or {schema.LATENCY_P50.key: 1.0},
        baseline_metrics={},
        samples=pd.DataFrame(),
        unstable=(),
        versions={"onnxruntime": "1.0"},
        identity=Identity(0.9925, 0.125, 0.5),
    )
    exported_model = ExportedModel("resnet18", "onnxruntime", precision, "model.onnx", (), (), facts=facts)
    measured = Measured(measurement, exported_model, exported_model if of_the_baseline else None, NOON, NOON)
    return record_of(plan, Device("cpu", "cpu", "cpu", "", "cpu"), measured)


def test_identity_with_the_reference_is_recorded():
    metrics = record("fp32").metrics
    assert metrics["identity/cosine"] == 0.9925
    assert metrics["identity/max_abs_error"] == 0.125


@pytest.mark.parametrize(("stayed", "of_all", "expected"), [(3, 21, "3 of 21"), (0, 21, "0 of 21")])
def test_quantised_networks_record_their_float_nodes(stayed: int, of_all: int, expected: str):
    assert record("int8", float_nodes=stayed, compute_nodes=of_all).all_tags()["frm.float_nodes"] == expected


def test_float_networks_record_no_float_nodes():
    assert "frm.float_nodes" not in record("fp32", float_nodes=21, compute_nodes=21).all_tags()


def test_frms_interval_follows_from_latency_and_memory():
    """The baseline relative to itself: its FLOPs ratio is 1, so FRM is the cube root of the other two."""
    ends = {"latency": (0.97, 1.03), "memory": (0.96, 1.04)}
    measured = {schema.LATENCY_P50.key: 1.0} | {
        f"ratio/{part}{end}": value
        for part, (low, high) in ends.items()
        for end, value in (("", 1.0), ("_low", low), ("_high", high))
    }
    metrics = record("fp32", metrics=measured, gmacs=1.8, of_the_baseline=True).metrics
    below, above = (np.hypot(*(np.log(pair[end]) for pair in ends.values())) / 3 for end in (0, 1))
    assert (metrics["frm_low"], metrics["frm"], metrics["frm_high"]) == pytest.approx(
        (np.exp(-below), 1, np.exp(above))
    )
    without = {key: value for key, value in measured.items() if "memory_" not in key}
    assert "frm_low" not in record("fp32", metrics=without, gmacs=1.8, of_the_baseline=True).metrics


def inputs_of(*shapes: tuple[int, ...]) -> list[TensorSpec]:
    return [TensorSpec(f"input_{place}", shape, "float32") for place, shape in enumerate(shapes)]


@pytest.mark.parametrize(
    ("shapes", "batch_size", "expected"),
    [
        ([(1, 3, 224, 224)], 1, "native"),
        ([(8, 3, 320, 320)], 8, "320"),
        ([(1, 3, 320, 480)], 1, "3x320x480"),
        ([(3, 320, 320)], 1, "320"),  # a detector's image, in a list
        ([(3, 320, 480)], 1, "3x320x480"),
        ([(3, 320, 320), (3, 240, 320)], 2, "input_0=3x320x320,input_1=3x240x320"),
        ([(1, 16000)], 1, "16000"),
        ([(4, 1, 16000)], 4, "1x16000"),
        ([(1, 12, 20), (2, 1, 64)], 1, "input_0=12x20,input_1=2x64"),  # a recurrent network with its state
        ([(1, 128), ()], 1, "input_0=128,input_1=scalar"),
        ([(12, 5, 20)], 5, "12x20"),  # the batch is the second axis
        ([(1,)], 1, "scalar"),
    ],
)
def test_resolution_is_the_shape_of_one_sample(shapes: list[tuple[int, ...]], batch_size: int, expected: str) -> None:
    model = ModelConfig(name="net", source="live", path="module.pkl")
    assert resolution_of(model, inputs_of(*shapes), batch_size=batch_size) == expected


def test_long_resolutions_are_cut_and_stay_different() -> None:
    model = ModelConfig(name="net", source="onnx", path="net.onnx")
    one, other = (
        resolution_of(model, inputs_of(*[(1, 1000 + place) for place in range(20)], (1, last))) for last in (7, 8)
    )
    assert max(len(one), len(other)) <= 80
    assert one != other
    assert one.rpartition("~")[0] == other.rpartition("~")[0]


def test_a_library_networks_resolution_is_native_or_its_side() -> None:
    shape = inputs_of((1, 3, 64, 64))
    assert resolution_of(ModelConfig(name="resnet18", source="torchvision"), shape) == "native"
    assert resolution_of(ModelConfig(name="resnet18", source="torchvision", input_size=64), shape) == "64"
