from datetime import datetime, timezone

import pandas as pd

from frm_mlflow import frame, schema
from frm_mlflow.records import BenchmarkRecord, Configuration

NOW = datetime(2026, 1, 2, tzinfo=timezone.utc)


def record(**changes: object) -> BenchmarkRecord:
    facts: dict[str, object] = {
        "model": "resnet18",
        "family": "cnn",
        "configuration": Configuration(device="cpu", tier="cpu", runtime="torch", precision="fp32"),
        "metrics": {schema.LATENCY_P50.key: 12.5},
        "source": schema.SOURCE_MEASURED,
        "identity": {"uuid": "a"},
        "start_time": NOW,
        "end_time": NOW,
    }
    return BenchmarkRecord(**(facts | changes))


def test_a_record_keeps_its_facts_and_has_nan_where_nothing_was_measured() -> None:
    row = frame.from_records([record()], run_ids=["r1"]).iloc[0]

    assert (row["model"], row["runtime"], row["run_id"]) == ("resnet18", "torch", "r1")
    assert row["latency_ms"] == 12.5
    assert pd.isna(row["memory_mib"])
    assert row["chip"] == ""
    assert row["batch_size"] == 1
    assert pd.isna(row["input_size"])


def test_every_frame_has_the_columns_and_types_of_the_contract() -> None:
    for table in (frame.from_records([]), frame.from_records([record()])):
        assert tuple(table.columns) == schema.FRAME_COLUMNS
        assert str(table["latency_ms"].dtype) == "float64"
        assert str(table["batch_size"].dtype) == "Int64"
        assert str(table["end_time"].dt.tz) == "UTC"


def test_text_in_a_metric_is_missing_and_the_input_stays_as_it_was() -> None:
    raw = pd.DataFrame({"model": ["a"], "latency_ms": ["fast"], "note": ["dropped"]})
    before = raw.copy(deep=True)

    result = frame.tidy(raw)

    assert pd.isna(result.loc[0, "latency_ms"])
    assert "note" not in result
    pd.testing.assert_frame_equal(raw, before)


def test_the_same_benchmark_has_the_same_id_and_another_one_another() -> None:
    assert record().record_id == record(metrics={schema.LATENCY_P50.key: 1.0}).record_id
    assert record().record_id != record(identity={"uuid": "b"}).record_id
    assert record().record_id != record(model="resnet50").record_id
