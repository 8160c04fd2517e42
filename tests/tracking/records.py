"""Records to log in tests."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

from mlflow.entities import Run

from frm_mlflow import schema
from frm_mlflow.records import BenchmarkRecord, Configuration

START = datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc)
CONFIGURATION = Configuration(device="test_cpu", tier="cpu", runtime="onnxruntime", precision="fp32")


def record(number: int = 0, **changes: object) -> BenchmarkRecord:
    """Return a benchmark whose metrics and identity are derived from `number`."""
    facts: dict[str, object] = {
        "model": f"model_{number}",
        "family": "cnn",
        "configuration": CONFIGURATION,
        "metrics": {schema.LATENCY_P50.key: 10.0 + number, schema.FRM.key: 0.5, schema.GMACS.key: 1.25},
        "source": schema.SOURCE_MEASURED,
        "identity": {"number": number},
        "start_time": START + timedelta(seconds=number),
        "end_time": START + timedelta(seconds=number + 30),
        "baseline": "resnet50",
        "tags": {schema.CONFIG_HASH.key: f"hash{number}"},
        "params": {"measure.runs": "100"},
    }
    return BenchmarkRecord(**(facts | changes))


def measured(run: Run) -> dict[str, float]:
    """Return a run's metrics without the one that marks late logging."""
    return {key: value for key, value in run.data.metrics.items() if key != schema.WRITTEN.key}
