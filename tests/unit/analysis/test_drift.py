from datetime import datetime, timedelta, timezone

import numpy as np
import pytest

from frm_mlflow import frame
from frm_mlflow.analysis.drift import COLUMNS, sentinel_drift

NOON = datetime(2026, 1, 1, 12, tzinfo=timezone.utc)


def run(minute: int, model: str, *, latency_ms: float, baseline_ms: float | None, device: str = "cpu_a") -> dict:
    own = {"model": model, "baseline": "net0", "latency_ms": latency_ms, "baseline_latency_ms": baseline_ms}
    where = {"device": device, "chip": "x", "runtime": "onnxruntime", "precision": "fp32", "batch_size": 1}
    return own | where | {"start_time": NOON + timedelta(minutes=minute), "source": "measured"}


def test_the_last_baseline_is_compared_with_the_first() -> None:
    runs = [
        run(2, "net2", latency_ms=9.0, baseline_ms=12.0),
        run(0, "net0", latency_ms=10.0, baseline_ms=None),
        run(1, "net1", latency_ms=5.0, baseline_ms=30.0),
        run(0, "net0", latency_ms=8.0, baseline_ms=None, device="cpu_b"),
        run(1, "net1", latency_ms=3.0, baseline_ms=6.0, device="cpu_b"),
    ]
    table = sentinel_drift(frame.from_runs(runs))

    assert tuple(table.columns) == COLUMNS
    assert list(table["device"]) == ["cpu_b", "cpu_a"]
    assert table["drift"].tolist() == pytest.approx([-0.25, 0.2])
    assert table["benchmarks"].tolist() == [2, 3]


def test_drift_needs_two_benchmarks_with_a_baseline() -> None:
    runs = [run(0, "net0", latency_ms=1.0, baseline_ms=None), run(1, "net1", latency_ms=1.0, baseline_ms=np.nan)]
    assert sentinel_drift(frame.from_runs(runs)).empty
    assert sentinel_drift(frame.from_runs([])).empty
