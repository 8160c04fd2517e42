"""Sustained mode: run the same model for minutes and report how much slower it is at the end."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from frm_mlflow.measure.participant import Participant

STRETCH_SECONDS = 1.0
"""Target duration of one row of the series."""
END_SHARE = 0.1
"""Share of the rows that count as the start, and as the end."""


@dataclass(frozen=True, slots=True)
class Sustained:
    """Result of running a model under load for a long time."""

    series: pd.DataFrame
    """One row per stretch: `seconds` since the start, `runs`, `median_ms`, and the machine's state after it."""
    drop: float
    """Median latency of the last tenth of the rows divided by that of the first tenth, minus one."""
    seconds: float


def sustain(
    participant: Participant,
    *,
    seconds: float,
    clock: Callable[[], int],
    conditions: Callable[[], Mapping[str, float]],
) -> Sustained:
    """Run the model without a pause for at least `seconds` and return its latency over time."""
    median_s = participant.now.warmed["median_ns"] / 1e9
    runs = max(1, round(STRETCH_SECONDS / median_s))
    started = clock()
    rows: list[dict[str, float]] = []
    while (now := (clock() - started) / 1e9) < seconds:
        wall_ns = participant.timed_block(runs=runs, settle=0)["wall_ns"]
        rows.append({"seconds": now, "runs": runs, "median_ms": float(np.median(wall_ns)) / 1e6, **conditions()})
    series = pd.DataFrame(rows)
    return Sustained(series, drop_of(series["median_ms"].to_numpy()), (clock() - started) / 1e9)


def drop_of(medians: np.ndarray) -> float:
    """Return the increase of the median from the first tenth to the last, as a share of the first tenth's."""
    tenth = max(1, math.ceil(len(medians) * END_SHARE))
    return float(np.median(medians[-tenth:]) / np.median(medians[:tenth]) - 1)
