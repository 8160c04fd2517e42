"""Pareto frontiers of a cost (lower is better) and a value (higher is better), on plain arrays.

**Ties.** Equation 5 of the paper removes a model only if another one is *strictly* better in
both. Of two models with the same accuracy it therefore also keeps the more expensive one, and of two
with the same cost also the less accurate one (weak Pareto optimality). That is `dominance="strict"`, the
default here. `dominance="any"` is the usual definition: at least as good in both, better in
one. Without ties the two agree. Exact duplicates are kept or removed together under both.

**Missing.** A point with a NaN or infinite coordinate is never on a frontier and dominates nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from frm_mlflow.analysis.arrays import Floats, Integers, Mask
from frm_mlflow.errors import DataError

Dominance: TypeAlias = Literal["strict", "any"]

_WORTH_THINNING = 1000
"""With fewer points than this, sorting costs less than thinning them out first."""
_SLICES = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class FrontierScore:
    """Agreement of a predicted frontier with the true one (paper 5.3, step 4)."""

    precision: float
    recall: float
    f1: float
    n_predicted: int
    n_true: int


def frontier(costs: ArrayLike, values: ArrayLike, *, dominance: Dominance = "strict") -> Mask:
    """Return which points are Pareto-optimal (paper eq. 5), in O(n log n).

    Parameters
    ----------
    costs, values
        Equal-length vectors; cost is minimised, value maximised.
    dominance
        Rule that removes a point; see the module docstring for ties.

    Examples
    --------
    >>> frontier([1, 2, 3], [70, 69, 75]).tolist()
    [True, False, True]
    >>> frontier([1, 2], [70, 70]).tolist(), frontier([1, 2], [70, 70], dominance="any").tolist()
    ([True, True], [True, False])
    """
    cost, value = _vectors(costs, values)
    finite = np.flatnonzero(np.isfinite(cost) & np.isfinite(value))
    kept = finite[_worth_sorting(cost[finite], value[finite])]
    mask = np.zeros(cost.size, dtype=np.bool_)
    mask[kept[_optimal(cost[kept], value[kept], dominance)]] = True
    return mask


def memberships(log_costs: Floats, values: Floats) -> Mask:
    """Return which models are Pareto-optimal in each draw (paper eq. 5), (D, M).

    `log_costs` is (D, M), `values` (M,); a model with a NaN value or cost is never on a frontier.
    """
    finite = np.flatnonzero(np.isfinite(values) & np.isfinite(log_costs).all(axis=0))
    finite = finite[np.argsort(values[finite], kind="stable")]  # among equal costs the less accurate is first and stays
    order = np.argsort(log_costs[:, finite], axis=1, kind="stable")
    sorted_values = values[finite][order]
    cheaper_best = np.maximum.accumulate(sorted_values, axis=1)[:, :-1]
    optimal = np.ones(order.shape, dtype=np.bool_)
    optimal[:, 1:] = sorted_values[:, 1:] >= cheaper_best
    members = np.zeros(log_costs.shape, dtype=np.bool_)
    placed = np.zeros_like(optimal)
    np.put_along_axis(placed, order, optimal, axis=1)
    members[:, finite] = placed
    return members


def hypervolume(costs: ArrayLike, values: ArrayLike, *, reference: tuple[float, float]) -> float:
    """Return the area that the points dominate, up to `reference` = (highest cost, lowest value).

    Points beyond the reference add nothing; NaN points are ignored. Pass log costs to compare
    ratios instead of differences.
    """
    cost, value = _vectors(costs, values)
    reference_cost, reference_value = reference
    inside = (cost < reference_cost) & (value > reference_value) & np.isfinite(cost) & np.isfinite(value)
    cost, value = cost[inside], value[inside]
    on_frontier = frontier(cost, value, dominance="any")
    order = np.argsort(cost[on_frontier], kind="stable")
    steps, heights = cost[on_frontier][order], value[on_frontier][order]
    widths = np.diff(np.append(steps, reference_cost))
    return float(np.sum(widths * (heights - reference_value)))


def regret(selected: ArrayLike, costs: ArrayLike, values: ArrayLike) -> float:
    """Return the mean value lost by choosing only among `selected`, over budgets at every model's cost.

    For each budget, the best affordable value of all models is compared with the best affordable
    value of the selected ones. If none of those is affordable, the lowest value of all models is used
    instead. Zero means that the selection loses nothing at any budget. NaN means that there are no models.
    """
    cost, value = _vectors(costs, values)
    finite = np.isfinite(cost) & np.isfinite(value)
    if not finite.any():
        return float("nan")
    chosen = np.asarray(selected, dtype=np.bool_)[finite]
    cost, value = cost[finite], value[finite]
    order = np.argsort(cost, kind="stable")
    last_of_tie = np.searchsorted(cost[order], cost[order], side="right") - 1
    best = np.maximum.accumulate(value[order])[last_of_tie]
    reached = np.maximum.accumulate(np.where(chosen, value, value.min())[order])[last_of_tie]
    return float(np.mean(best - reached))


def score(predicted: ArrayLike, true: ArrayLike) -> FrontierScore:
    """Return precision, recall and F1 of a `predicted` frontier mask against the `true` one.

    Precision is NaN for an empty prediction and recall is NaN for an empty truth; F1 is then NaN too. If the
    two frontiers have no model in common, F1 is 0.
    """
    guess, truth = np.asarray(predicted, dtype=np.bool_), np.asarray(true, dtype=np.bool_)
    if guess.shape != truth.shape:
        raise DataError(f"frontiers of different model sets: {guess.shape} and {truth.shape}")
    hits, n_predicted, n_true = int((guess & truth).sum()), int(guess.sum()), int(truth.sum())
    nan = float("nan")
    return FrontierScore(
        precision=hits / n_predicted if n_predicted else nan,
        recall=hits / n_true if n_true else nan,
        f1=2 * hits / (n_predicted + n_true) if n_predicted and n_true else nan,
        n_predicted=n_predicted,
        n_true=n_true,
    )


def _vectors(costs: ArrayLike, values: ArrayLike) -> tuple[Floats, Floats]:
    cost, value = np.asarray(costs, dtype=np.float64), np.asarray(values, dtype=np.float64)
    if cost.ndim != 1 or cost.shape != value.shape:
        raise DataError(f"costs and values must be vectors of one length, got shapes {cost.shape} and {value.shape}")
    return cost, value


def _worth_sorting(cost: Floats, value: Floats) -> Integers:
    """Return the points not beaten by a strictly cheaper slice of the cost axis: O(n), and usually few remain."""
    span = np.ptp(cost) if cost.size >= _WORTH_THINNING else 0.0
    if not 0 < span < np.inf:
        return np.arange(cost.size)
    slices = ((cost - cost.min()) / span * (_SLICES - 1)).astype(np.intp)
    best = np.full(_SLICES, -np.inf)
    np.maximum.at(best, slices, value)
    cheaper_best = np.append(-np.inf, np.maximum.accumulate(best)[:-1])
    return np.flatnonzero(value >= cheaper_best[slices])


def _optimal(cost: Floats, value: Floats, dominance: Dominance) -> Mask:
    """Return the Pareto-optimal points among finite ones."""
    if cost.size == 0:
        return np.zeros(0, dtype=np.bool_)
    order = np.argsort(cost, kind="stable")
    cost, value = cost[order], value[order]
    starts = np.flatnonzero(np.append(True, cost[1:] != cost[:-1]))
    sizes = np.diff(np.append(starts, cost.size))
    best_so_far = np.maximum.accumulate(value)
    cheaper_best = np.repeat(np.append(-np.inf, best_so_far[starts[1:] - 1]), sizes)
    if dominance == "strict":
        kept = value >= cheaper_best
    else:
        tied_best = np.repeat(np.maximum.reduceat(value, starts), sizes)
        kept = (value > cheaper_best) & (value == tied_best)
    mask = np.zeros(cost.size, dtype=np.bool_)
    mask[order[kept]] = True
    return mask
