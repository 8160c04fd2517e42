"""FRM, the paper's composite metric: equations 1-4 on plain arrays.

One rule for missing data: a component that is NaN, infinite, zero or negative was not
measured. FRM without it would be a different quantity, so the result is NaN and never a mean of
the rest. To use a subset of components, request it explicitly.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike

from frm_mlflow.analysis.arrays import Floats
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
    log_sum = sum(np.log(positive(values)) for values in ratios)
    return np.asarray(np.exp(np.round(log_sum / len(ratios), _LOG_DIGITS)), dtype=np.float64)


def component_ratios(costs: Mapping[str, ArrayLike], baseline: Mapping[str, ArrayLike]) -> dict[str, Floats]:
    """Return each component of `costs` divided by the same component of `baseline`.

    Raises
    ------
    DataError
        If the baseline lacks a component.
    """
    absent = sorted(set(costs) - set(baseline))
    if absent:
        raise DataError(f"the baseline has no {', '.join(absent)}: measure it too, or leave the component out")
    return {name: ratio(values, baseline[name]) for name, values in costs.items()}


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


def rebase(frm_values: ArrayLike, baseline_frm: ArrayLike) -> Floats:
    """Return FRM relative to another baseline, given that baseline's FRM relative to the old one.

    The baseline is one constant per device, so this is a plain quotient and ranks cannot
    change: "the same ranks under three baselines" (paper 3.4) is algebra, not evidence.
    """
    return ratio(frm_values, baseline_frm)


def positive(values: ArrayLike) -> Floats:
    """Return `values` as floats, with NaN for everything that is not finite and positive."""
    array = np.asarray(values, dtype=np.float64)
    return np.where(np.isfinite(array) & (array > 0), array, np.nan)
