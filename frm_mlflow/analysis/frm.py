"""FRM, the paper's composite metric: equations 1-4 on plain arrays.

One rule for missing data: a component that is NaN, infinite, zero or negative was not
measured. FRM without it would be a different quantity, so the result is NaN and never a mean of
the rest. To use a subset of components, request it explicitly.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike

from frm_mlflow.analysis.arrays import Floats
from frm_mlflow.analysis.interval import Interval
from frm_mlflow.errors import DataError

FRM_COMPONENTS: tuple[str, ...] = ("flops", "latency", "memory")
FRM_E_COMPONENTS: tuple[str, ...] = (*FRM_COMPONENTS, "energy")
_LOG_DIGITS = 13
"""Decimals of log FRM: models with the same product of costs tie, regardless of the order of summation."""


def ratio(cost: ArrayLike, baseline: ArrayLike) -> Floats:
    """Return `cost / baseline` (paper eq. 2-4); NaN if either is not a finite positive number.

    Both are broadcast, so one column of baselines works with a matrix of models.

    Examples
    --------
    >>> ratio([0.305, 4.09], 4.09).round(3).tolist()
    [0.075, 1.0]
    """
    return positive(cost) / positive(baseline)


def frm(*ratios: ArrayLike) -> Floats:
    """Return the geometric mean of the component ratios (paper eq. 1), NaN if one is missing.

    Accepts any number of components: three give the paper's FRM, a fourth (energy) gives FRM_E, and fewer
    give the metric of that subset. Ratios of 1 give exactly 1, so the baseline's FRM is 1.

    Raises
    ------
    DataError
        If no component is given.

    Examples
    --------
    LeViT-128S on a GPU, from the paper's Table 2:

    >>> round(float(frm(0.075, 0.541, 0.367)), 3)
    0.246
    """
    if not ratios:
        raise DataError("frm needs at least one component ratio: flops, latency, memory or energy")
    return np.asarray(np.exp(np.round(log_frm(*(np.log(positive(values)) for values in ratios)), _LOG_DIGITS)))


def frm_interval(latency_ratio: Interval, *, flops_ratio: float, memory_ratio: Interval) -> Interval:
    """Return FRM (paper equation 1) with the interval that follows from those of the latency and memory ratios.

    FLOPs are exact. The errors of latency and memory are independent, so on a logarithmic scale the
    squares of the distances to the ends add up.
    """
    parts = (latency_ratio, memory_ratio)
    value = float(frm(flops_ratio, latency_ratio.value, memory_ratio.value))
    below = math.hypot(*(_log_quotient(part.value, part.low) for part in parts)) / len(FRM_COMPONENTS)
    above = math.hypot(*(_log_quotient(part.high, part.value) for part in parts)) / len(FRM_COMPONENTS)
    return Interval(value, value * math.exp(-below), value * math.exp(above))


def _log_quotient(larger: float, smaller: float) -> float:
    return math.log(larger / smaller) if smaller else math.inf


def log_frm(*log_ratios: Floats) -> Floats:
    """Return log FRM, the mean of the logarithms of its component ratios (paper eq. 1); NaN if one is NaN.

    With logarithms of costs in place of ratios it is log FRM up to a constant per device, which does not affect any
    rank or frontier. All arguments are broadcast.
    """
    return np.asarray(sum(log_ratios) / len(log_ratios), dtype=np.float64)


def frm_of(ratios: Mapping[str, ArrayLike], *, components: Sequence[str] = FRM_COMPONENTS) -> Floats:
    """Return FRM over the named `components` of `ratios`.

    Raises
    ------
    DataError
        If a component is not among the ratios; the message lists those that are.
    """
    absent = [name for name in components if name not in ratios]
    if absent:
        raise DataError(f"no ratio for {', '.join(absent)}; there are {', '.join(ratios) or 'none'}")
    return frm(*(ratios[name] for name in components))


def positive(values: ArrayLike) -> Floats:
    """Return `values` as floats, with NaN for everything that is not finite and positive."""
    array = np.asarray(values, dtype=np.float64)
    return np.where(np.isfinite(array) & (array > 0), array, np.nan)
