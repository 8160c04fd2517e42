"""Ended benchmarks read directly from a tracking database, in three statements (docs/adr/0014)."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from urllib.parse import urlsplit

from mlflow.entities import LifecycleStage
from mlflow.store.db.db_types import DATABASE_ENGINES
from mlflow.store.tracking.dbmodels.models import SqlLatestMetric, SqlRun, SqlTag
from sqlalchemy import ColumnElement, and_, create_engine, select
from sqlalchemy.exc import SQLAlchemyError

from frm_mlflow import schema
from frm_mlflow.errors import TrackingError
from frm_mlflow.tracking import rest
from frm_mlflow.tracking.pages import METRIC_COLUMNS, TAG_COLUMNS, Row, make_row

RUNS, TAGS, METRICS = SqlRun.__table__.c, SqlTag.__table__.c, SqlLatestMetric.__table__.c


def is_database(uri: str) -> bool:
    """Whether `uri` names a database that MLflow stores runs in."""
    return urlsplit(uri).scheme.split("+")[0] in DATABASE_ENGINES


def ended_benchmarks(uri: str, experiment_ids: Sequence[str], run_ids: Sequence[str] | None = None) -> list[Row]:
    """Return the active benchmark runs of these experiments that have ended, as `tracking.pages` would.

    `run_ids` limits them to these runs: a few hundred at most, since the ids are part of the statements.

    Raises
    ------
    TrackingError
        If the database does not respond.
    """
    ended = _ended_benchmarks([int(experiment_id) for experiment_id in experiment_ids])
    if run_ids is not None:
        ended = and_(ended, RUNS.run_uuid.in_(run_ids))
    facts = select(RUNS.run_uuid, RUNS.experiment_id, RUNS.status, RUNS.start_time, RUNS.end_time).where(ended)
    words = select(TAGS.run_uuid, TAGS.key, TAGS.value).join(SqlRun, RUNS.run_uuid == TAGS.run_uuid)
    words = words.where(ended, TAGS.key.in_(TAG_COLUMNS))
    numbers = select(METRICS.run_uuid, METRICS.key, METRICS.value, METRICS.is_nan)
    numbers = numbers.join(SqlRun, RUNS.run_uuid == METRICS.run_uuid).where(ended, METRICS.key.in_(METRIC_COLUMNS))
    tags: dict[str, list[tuple[str, str]]] = defaultdict(list)
    metrics: dict[str, list[tuple[str, float]]] = defaultdict(list)
    engine = create_engine(uri)
    try:
        with engine.connect() as connection:
            runs = connection.execute(facts).all()
            for run_id, key, text in connection.execute(words):
                tags[run_id].append((key, text))
            for run_id, key, value, is_nan in connection.execute(numbers):
                metrics[run_id].append((key, math.nan if is_nan else value))
    except SQLAlchemyError as error:
        raise TrackingError(f"the tracking store {uri} does not answer: {rest.first_line(error)}") from error
    finally:
        engine.dispose()
    return [make_row(tuple(run), tags[run[0]], metrics[run[0]]) for run in runs]


def _ended_benchmarks(experiment_ids: Sequence[int]) -> ColumnElement[bool]:
    is_benchmark = select(TAGS.run_uuid).where(TAGS.key == schema.KIND.key, TAGS.value == schema.KIND_BENCHMARK)
    return and_(
        RUNS.experiment_id.in_(experiment_ids),
        RUNS.lifecycle_stage == LifecycleStage.ACTIVE,
        RUNS.end_time > 0,
        RUNS.run_uuid.in_(is_benchmark),
    )
