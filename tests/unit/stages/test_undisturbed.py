"""What a gate takes from a contended measurement: CPU time, launch by launch."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from frm_mlflow.config import MeasureConfig
from frm_mlflow.measure import Identity, Measurement
from frm_mlflow.stages import undisturbed

WALL = {"ratio/latency": 0.7, "ratio/latency_low": 0.6, "ratio/latency_high": 0.8}


def samples(launches: int, rng: np.random.Generator) -> pd.DataFrame:
    """A quarter of the baseline's CPU time on a machine whose speed is another in each launch."""
    rows = []
    for launch in range(launches):
        speed = 2.0**launch
        for role, cpu_ms, blocks in (("baseline", 40.0, 5), ("model", 10.0, 4)):
            for block in range(blocks):
                cpu = speed * cpu_ms * 1e6 * (1 + 0.001 * rng.standard_normal(5))
                rows += [{"role": role, "launch": launch, "block": block, "cpu_ns": ns} for ns in cpu]
    return pd.DataFrame(rows)


def contended(launches: int, *, threads: int) -> Measurement:
    return Measurement(
        metrics=WALL,
        baseline_metrics={},
        samples=samples(launches, np.random.default_rng(0)),
        unstable=("contention 30.0%",),
        versions={},
        identity=Identity(1.0, 0.0, 0.0),
        facts={"threads": threads},
    )


@pytest.mark.parametrize("launches", [1, 3])
def test_contention_lets_cpu_time_decide_within_each_launch(launches: int):
    found = undisturbed.ratio(contended(launches, threads=1), MeasureConfig(resamples=200))
    assert found.value == pytest.approx(0.25, rel=0.01)
    assert 0.24 < found.low <= found.value <= found.high < 0.26


def test_with_several_threads_both_clocks_count():
    found = undisturbed.ratio(contended(3, threads=2), MeasureConfig(resamples=200))
    assert found.low < 0.26
    assert found.high == 0.8
