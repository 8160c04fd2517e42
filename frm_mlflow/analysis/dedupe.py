"""Detection of devices that appear under two names, from their measurements and not from their names."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import spearmanr

from frm_mlflow.schema import CHIP, DEVICE

_MEDIAN_DIFFERENCE = 0.01


def near_duplicates(
    configurations: pd.DataFrame, latency_ms: NDArray[np.float64], *, min_models: int
) -> NDArray[np.bool_]:
    """Return which configurations repeat another one, with the same numbers under a different device name.

    Two configurations are near-duplicates if their chip is known and equal, everything else except the device
    is equal and, over at least `min_models` common models, their latency ranks agree completely and the
    median difference is below 1 %. Of such duplicates, the one with the most models is kept, then the
    first by label.
    """
    lost = np.zeros(len(configurations), dtype=np.bool_)
    for group in _candidates(configurations):
        fullest = sorted(group, key=lambda row: -int(np.isfinite(latency_ms[row]).sum()))
        kept: list[int] = []
        for row in fullest:
            lost[row] = any(_same(latency_ms[row], latency_ms[other], min_models) for other in kept)
            if not lost[row]:
                kept.append(row)
    return lost


def _candidates(configurations: pd.DataFrame) -> Iterable[list[int]]:
    ignored = {DEVICE.column, "label", "source"}
    known = configurations[configurations[CHIP.column] != ""]
    groups = known.groupby([name for name in known.columns if name not in ignored], sort=False)
    return (list(rows) for rows in groups.groups.values() if len(rows) > 1)


def _same(one: NDArray[np.float64], other: NDArray[np.float64], min_models: int) -> bool:
    common = np.isfinite(one) & np.isfinite(other)
    if common.sum() < min_models:
        return False
    difference = np.median(np.abs(np.log(one[common] / other[common])))
    return bool(
        difference < np.log1p(_MEDIAN_DIFFERENCE) and spearmanr(one[common], other[common]).statistic > 1 - 1e-12
    )
