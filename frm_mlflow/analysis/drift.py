"""Did a device change during a sweep? The baseline, which is timed alongside every model, is the sentinel."""

from __future__ import annotations

import pandas as pd

from frm_mlflow import schema

COLUMNS = ("device", "chip", "runtime", "precision", "baseline", "benchmarks", "first_ms", "last_ms", "drift")
_GROUP = ("device", "chip", "runtime", "runtime_version", "precision", "batch_size", "resolution", "baseline")


def sentinel_drift(finished: pd.DataFrame) -> pd.DataFrame:
    """Return how the baseline's median latency changed from the first to the last benchmark, one row per configuration.

    Parameters
    ----------
    finished
        A tidy frame of the finished benchmarks of one sweep.

    Returns
    -------
    pandas.DataFrame
        Columns `COLUMNS`, the largest change first; `drift` is last / first - 1. Configurations
        with fewer than two benchmarks that include a baseline timing are left out.
    """
    is_baseline = finished["model"] == finished["baseline"]
    sentinel = finished[schema.LATENCY_BASELINE.column].where(~is_baseline, finished[schema.LATENCY_P50.column])
    timed = finished.assign(sentinel_ms=sentinel).dropna(subset=["sentinel_ms"]).sort_values("start_time")
    groups = timed.groupby(list(_GROUP), dropna=False)["sentinel_ms"]
    table = groups.agg(benchmarks="size", first_ms="first", last_ms="last").reset_index()
    table["drift"] = table["last_ms"] / table["first_ms"] - 1
    table = table[table["benchmarks"] >= 2].sort_values("drift", key=abs, ascending=False)
    return table[list(COLUMNS)].reset_index(drop=True)
