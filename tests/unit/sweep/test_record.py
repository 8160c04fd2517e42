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
from frm_mlflow.devices import Device
from frm_mlflow.measure import Identity, Measurement
from frm_mlflow.records import BenchmarkRecord
from frm_mlflow.sweep.plan import plan_benchmarks
from frm_mlflow.sweep.record import Measured, record_of
from frm_mlflow.worker.manifest import ExportedModel

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


def test_a_run_says_how_like_the_reference_its_exported_model_computes():
    metrics = record("fp32").metrics
    assert metrics["identity/cosine"] == 0.9925
    assert metrics["identity/max_abs_error"] == 0.125


@pytest.mark.parametrize(("stayed", "of_all", "said"), [(3, 21, "3 of 21"), (0, 21, "0 of 21")])
def test_a_quantised_network_says_what_stayed_in_floating_point(stayed: int, of_all: int, said: str):
    assert record("int8", float_nodes=stayed, compute_nodes=of_all).all_tags()["frm.float_nodes"] == said


def test_where_nothing_was_quantised_nothing_is_said():
    assert "frm.float_nodes" not in record("fp32", float_nodes=21, compute_nodes=21).all_tags()


def test_frm_has_the_interval_that_latency_and_memory_leave_it():
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
