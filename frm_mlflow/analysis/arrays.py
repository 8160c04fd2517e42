"""Array types, and the mean and spread of finite values, shared by all analyses."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float64]
Mask: TypeAlias = NDArray[np.bool_]
Integers: TypeAlias = NDArray[np.integer[Any]]
Words: TypeAlias = NDArray[np.object_]
Signs: TypeAlias = NDArray[np.float32]
"""Small integers in single precision, for which matrix products are fastest and still exact."""


def finite_mean(values: Floats) -> float:
    """Return the mean of the finite values, NaN if there are none."""
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if finite.size else float("nan")


def finite_sd(values: Floats) -> float:
    """Return the sample standard deviation of the finite values, NaN if there are fewer than two."""
    finite = values[np.isfinite(values)]
    return float(finite.std(ddof=1)) if finite.size > 1 else float("nan")


def column_means(values: Floats) -> Floats:
    """Return the mean of the finite values of each column, NaN for a column without any."""
    finite = np.isfinite(values)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean: Floats = np.where(finite, values, 0.0).sum(axis=0) / finite.sum(axis=0)
    return mean


def column_medians(values: Floats) -> Floats:
    """Return the median of the finite values of each column, NaN for a column without any."""
    medians = np.full(values.shape[1], np.nan)
    finite = np.isfinite(values).any(axis=0)
    medians[finite] = np.nanmedian(values[:, finite], axis=0)
    return medians
