"""The check that every record must pass, whatever creates it."""

from datetime import datetime, timezone

import numpy as np
import pytest

from frm_mlflow import schema
from frm_mlflow.errors import DataError
from frm_mlflow.records import BenchmarkRecord, Configuration, ImplausibleError

START = datetime(2026, 1, 2, tzinfo=timezone.utc)
CONFIGURATION = Configuration(device="box", tier="cpu", runtime="torch", precision="fp32")


def record(metrics: dict[str, object], **changes: object) -> BenchmarkRecord:
    facts: dict[str, object] = {
        "model": "a",
        "family": "cnn",
        "configuration": CONFIGURATION,
        "metrics": metrics,
        "source": schema.SOURCE_MEASURED,
        "identity": {},
        "start_time": START,
        "end_time": START,
    }
    return BenchmarkRecord(**(facts | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [1e-6, 0.5, 3, np.float32(2.5), np.float64(86_400_000.0)])
def test_a_plausible_latency_is_kept_as_it_is(value: float) -> None:
    assert record({schema.LATENCY_P50.key: value}).metrics[schema.LATENCY_P50.key] == value


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1.0, 0.0, 1e-7, 1e9, None, True, "5", [5]])
def test_a_latency_that_cannot_be_true_is_named(value: object) -> None:
    with pytest.raises(ImplausibleError, match="latency_ms"):
        record({schema.LATENCY_P50.key: value})


@pytest.mark.parametrize("metric", schema.METRICS, ids=lambda metric: metric.column)
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 1e300, -1e300])
def test_no_metric_holds_what_is_not_a_number(metric: schema.Metric, value: float) -> None:
    with pytest.raises(ImplausibleError, match=metric.column):
        record({schema.LATENCY_P50.key: 1.0, metric.key: value})


@pytest.mark.parametrize("batch_size", [0, -1, 10**6, 1.0, True, "1", None, float("nan")])
def test_a_batch_size_is_a_whole_number(batch_size: object) -> None:
    with pytest.raises(DataError, match="batch_size"):
        Configuration(device="box", tier="cpu", runtime="torch", precision="fp32", batch_size=batch_size)  # type: ignore[arg-type]


def test_a_measurement_without_a_latency_is_no_record() -> None:
    with pytest.raises(ImplausibleError, match="no latency_ms"):
        record({schema.MEMORY_PEAK.key: 5.0})
    assert record({schema.MEMORY_PEAK.key: 5.0}, source="imported:csv").metrics
    with pytest.raises(ImplausibleError, match="no latency_ms or memory_mib or throughput"):
        record({schema.GMACS.key: 5.0}, source="imported:csv")


@pytest.mark.parametrize("year", [1, 1989, 2100, 9999])
def test_a_time_lies_in_the_age_of_benchmarks(year: int) -> None:
    with pytest.raises(ImplausibleError, match="date"):
        record({schema.LATENCY_P50.key: 1.0}, start_time=START.replace(year=year))
