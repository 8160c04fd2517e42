"""Fill a tracking database with finished benchmark runs, thousands per second, as if they had been logged."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from itertools import islice

import numpy as np
from mlflow import MlflowClient
from mlflow.store.tracking.dbmodels.models import SqlLatestMetric, SqlMetric, SqlParam, SqlRun, SqlTag
from sqlalchemy import create_engine, insert

from frm_mlflow import schema
from frm_mlflow.records import BenchmarkRecord, Configuration, implausible
from frm_mlflow.tracking.entry import record_entry

START = datetime(2026, 1, 1, tzinfo=timezone.utc)
RUNTIMES = ("onnxruntime", "torch", "openvino", "litert")
PRECISIONS = ("fp32", "int8")
CHUNK = 2000


def synthetic_records(
    count: int, *, rng: np.random.Generator, first: int = 0, models: int = 40
) -> Iterator[BenchmarkRecord]:
    """Yield benchmarks of resnet50 and other models, each with every metric, on as many devices as `count` needs."""
    metrics = [m for m in schema.METRICS if m not in (schema.ENERGY, schema.RATIO_ENERGY, schema.FRM_E)]
    for number in range(first, first + count):
        values = rng.lognormal(size=len(metrics))
        start = START + timedelta(seconds=number)
        yield BenchmarkRecord(
            model=f"model_{number % models}" if number % models else "resnet50",
            family="cnn",
            configuration=Configuration(
                device=f"device_{number // (8 * models)}",
                chip=f"chip_{number // (16 * models)}",
                tier=schema.TIERS[number // (8 * models) % 3],
                runtime=RUNTIMES[number // models % 4],
                runtime_version="1.0",
                precision=PRECISIONS[number // (4 * models) % 2],
            ),
            metrics={m.key: _plausible(m.key, float(value)) for m, value in zip(metrics, values, strict=True)},
            source="imported:synthetic",
            identity={"number": number},
            start_time=start,
            end_time=start + timedelta(seconds=1),
            baseline="resnet50",
            tags={schema.LATENCY_STATISTIC.key: "p50", schema.FLOPS_CONVENTION.key: schema.MACS},
            params={f"measure.setting_{i}": str(i) for i in range(10)},
        )


def _plausible(key: str, value: float) -> float:
    """Return the value if it is in the metric's range, otherwise 1, which is in every range."""
    return 1.0 if any(implausible({key: value})) else value


def seed(
    database: str, experiment: str, count: int, *, rng: np.random.Generator, first: int = 0, models: int = 40
) -> None:
    """Insert `count` FINISHED runs into the MLflow database (a SQLAlchemy URI) with four statements per chunk."""
    client = MlflowClient(database)
    found = client.get_experiment_by_name(experiment)
    experiment_id = found.experiment_id if found else client.create_experiment(experiment)
    records = synthetic_records(count, rng=rng, first=first, models=models)
    engine = create_engine(database)
    while chunk := list(islice(records, CHUNK)):
        rows: dict[type, list[dict[str, object]]] = {SqlRun: [], SqlTag: [], SqlParam: [], SqlMetric: []}
        for record in chunk:
            _add_rows(rows, record, int(experiment_id), run_id=rng.bytes(16).hex())
        with engine.begin() as connection:
            for table, values in rows.items():
                connection.execute(insert(table), values)
            connection.execute(insert(SqlLatestMetric), rows[SqlMetric])
    engine.dispose()


def _add_rows(
    rows: dict[type, list[dict[str, object]]], record: BenchmarkRecord, experiment_id: int, *, run_id: str
) -> None:
    entry = record_entry(record, tracking_uri="", experiment="")
    rows[SqlRun].append(
        {
            "run_uuid": run_id,
            "name": entry.name,
            "source_type": "UNKNOWN",
            "source_name": "",
            "entry_point_name": "",
            "user_id": "seed",
            "status": entry.status,
            "start_time": entry.start_ms,
            "end_time": entry.end_ms,
            "source_version": "",
            "lifecycle_stage": "active",
            "artifact_uri": f"mlflow-artifacts:/{experiment_id}/{run_id}/artifacts",
            "experiment_id": experiment_id,
        }
    )
    tags = {**entry.tags, "mlflow.runName": entry.name, "mlflow.user": "seed"}
    rows[SqlTag] += [{"key": k, "value": v, "run_uuid": run_id} for k, v in tags.items()]
    rows[SqlParam] += [{"key": k, "value": v, "run_uuid": run_id} for k, v in entry.params.items()]
    rows[SqlMetric] += [
        {"key": k, "value": v, "timestamp": entry.end_ms, "step": 0, "is_nan": False, "run_uuid": run_id}
        for k, v in entry.metrics.items()
    ]
