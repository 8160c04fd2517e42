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


def known_mean(values: Floats) -> float:
    """Return the mean of the finite values, NaN if there are none."""
    known = values[np.isfinite(values)]
    return float(known.mean()) if known.size else float("nan")


def known_sd(values: Floats) -> float:
    """Return the sample standard deviation of the finite values, NaN if there are fewer than two."""
    known = values[np.isfinite(values)]
    return float(known.std(ddof=1)) if known.size > 1 else float("nan")


def column_means(values: Floats) -> Floats:
    """Return the mean of the finite values of each column, NaN for a column without any."""
    known = np.isfinite(values)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean: Floats = np.where(known, values, 0.0).sum(axis=0) / known.sum(axis=0)
    return mean
