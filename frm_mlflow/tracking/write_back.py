"""Results of an analysis as metrics on the benchmark runs, so that the MLflow UI can sort by them."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Hashable, Mapping
from concurrent.futures import ThreadPoolExecutor

import pandas as pd
from mlflow import MlflowClient

from frm_mlflow import schema
from frm_mlflow.errors import DataError, TrackingError
from frm_mlflow.tracking import rest
from frm_mlflow.tracking.bulk import WORKERS, OnProgress
from frm_mlflow.tracking.send import log_values
from frm_mlflow.tracking.spool import SERVER_ERRORS


def write_back(
    client: MlflowClient,
    values: pd.DataFrame,
    *,
    workers: int = WORKERS,
    clock: Callable[[], float] = time.time,
    on_progress: OnProgress | None = None,
) -> int:
    """Log the rows of `values` to their runs, with one request each; return how many runs were written to.

    Parameters
    ----------
    values
        Index: run ids. Columns: metric keys of `schema`. NaN and infinite values are not logged.

    Raises
    ------
    DataError
        If a column is not a metric of the schema.
    TrackingError
        If a run refuses its values; the runs before it have been written.
    """
    unknown = sorted(set(values.columns) - set(schema.METRIC_BY_KEY))
    if unknown:
        raise DataError(f"metrics that are not in the schema cannot be written back: {', '.join(unknown)}")
    rows = ((str(run_id), _finite(row)) for run_id, row in zip(values.index, values.to_dict("records"), strict=True))
    to_write = [(run_id, metrics) for run_id, metrics in rows if metrics]

    def write(item: tuple[str, dict[str, float]]) -> None:
        now = clock()
        metrics = {**item[1], schema.WRITTEN.key: now}
        log_values(client, item[0], metrics=metrics, time_ms=round(now * 1000))

    try:
        with ThreadPoolExecutor(workers if rest.is_http(client.tracking_uri) else 1) as pool:
            for done, _ in enumerate(pool.map(write, to_write), start=1):
                if on_progress:
                    on_progress(done, len(to_write))
    except SERVER_ERRORS as error:
        raise TrackingError(f"results cannot be written back to {client.tracking_uri}: {error}") from error
    return len(to_write)


def _finite(row: Mapping[Hashable, float]) -> dict[str, float]:
    return {str(key): float(value) for key, value in row.items() if math.isfinite(value)}
