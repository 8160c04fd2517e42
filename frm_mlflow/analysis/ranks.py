"""Ranks and rank correlations of whole matrices at once, with some models missing.

Two rankings are compared over the models that both have. This is done without a loop:
a model's centred rank within any subset is half the sum of the signs of its differences
to the subset's members, so one matrix product of sign matrices and masks ranks every
configuration within the models of every other one. Ties get average ranks, as in SciPy.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from fractions import Fraction

import numpy as np
from scipy.stats import rankdata

from frm_mlflow.analysis.arrays import Floats, Integers, Mask, Signs

_BLOCK_CELLS = 8_000_000
"""Number of cells of the largest temporary array; 32 MB in single precision."""
_SIGN_MODELS = 256
"""Sign matrices cost models², sorting each pair of rows models·log(models): above this size sorting is faster."""


def ranks(values: Floats) -> Floats:
    """Return average ranks along the last axis, 1 for the lowest; NaN stays NaN and does not take a rank."""
    missing = np.isnan(values)
    ranked = rankdata(np.where(missing, np.inf, values), axis=-1)
    return np.where(missing, np.nan, ranked)


def mean_percent_ranks(values: Floats) -> Floats:
    """Return each model's mean rank over the rows of (C, M) as a share: (rank - 1/2) / n for a row with n models.

    The means are added as fractions and rounded once, so equal means are equal numbers and the order of the
    rows cannot split a tie. NaN for a model that is missing from every row.
    """
    finite = ~np.isnan(values)
    twice = np.where(finite, np.rint(2 * ranks(values) - 1), 0).astype(np.int64)
    sizes, code = np.unique(finite.sum(axis=1), return_inverse=True)
    sums = np.zeros((sizes.size, values.shape[1]), dtype=np.int64)
    np.add.at(sums, code, twice)
    common = math.lcm(*(int(size) for size in sizes if size))
    weights = [common // int(size) if size else 0 for size in sizes]
    return np.array(
        [
            float(Fraction(sum(map(int.__mul__, weights, column)), 2 * common * count)) if count else np.nan
            for column, count in zip(sums.T.tolist(), finite.sum(axis=0).tolist(), strict=True)
        ]
    )


def spearman(x: Floats, y: Floats, *, min_models: int) -> tuple[Floats, Integers]:
    """Return Spearman's rho of every row of `x` with every row of `y`, and the number of their common models.

    Shapes (A, M) and (B, M) give (A, B). Each pair is ranked over its common models. The result is NaN
    if there are fewer than `min_models`, or if all values of a ranking are tied.
    """
    has_x, has_y = np.isfinite(x), np.isfinite(y)
    if has_x.all() and has_y.all():
        common = np.full((len(x), len(y)), x.shape[1], dtype=np.int64)
        rho = _unit(ranks(x)) @ _unit(ranks(y)).T
    else:
        common = has_x.astype(np.int64) @ has_y.T.astype(np.int64)
        rho = _masked_spearman(x, y) if x.shape[1] <= _SIGN_MODELS else _row_by_row(x, y)
    return np.where(common >= min_models, np.clip(rho, -1, 1), np.nan), common


def kendall_tau_b(x: Floats, y: Floats, *, min_models: int) -> Floats:
    """Return Kendall's tau-b of every row of `x` with every row of `y` over their common models, shape (A, B)."""
    n_models = x.shape[1]
    upper = np.triu_indices(n_models, 1)
    sx, sy = (signs(v)[:, upper[0], upper[1]] for v in (x, y))
    has_x, has_y = (np.isfinite(v)[:, upper[0]] & np.isfinite(v)[:, upper[1]] for v in (x, y))
    concordance = sx @ sy.T
    untied_x = np.abs(sx) @ has_y.T.astype(np.float32)
    untied_y = has_x.astype(np.float32) @ np.abs(sy).T
    with np.errstate(invalid="ignore", divide="ignore"):
        tau: Floats = concordance / np.sqrt(untied_x.astype(np.float64) * untied_y)
    common = np.isfinite(x).astype(np.int64) @ np.isfinite(y).T.astype(np.int64)
    return np.where(common >= min_models, tau, np.nan)


def signs(values: Floats) -> Signs:
    """Return sign(v_i - v_j) for all pairs in each row, shape (C, M, M); 0 if either is missing."""
    finite = np.where(np.isfinite(values), values, np.nan)
    one, other = finite[:, :, None], finite[:, None, :]
    return np.subtract(one > other, one < other, dtype=np.float32)


def pairs(matrix: Floats, keep: Mask | None = None) -> Floats:
    """Return the finite entries above the diagonal of a square matrix, limited to `keep` if given."""
    mask = np.triu(np.isfinite(matrix) if keep is None else keep & np.isfinite(matrix), 1)
    return matrix[mask]


def blocks(n_rows: int, cells_a_row: int) -> Iterator[slice]:
    """Return slices over `n_rows` that keep temporary arrays within the memory limit."""
    step = max(1, _BLOCK_CELLS // max(1, cells_a_row))
    return (slice(start, start + step) for start in range(0, n_rows, step))


def within(tensor: Signs, mask: Signs) -> Signs:
    """Return, for each matrix of `tensor` (A, M, M), its row sums over each mask (B, M): shape (A, B, M)."""
    n, models = tensor.shape[:2]
    sums = tensor.reshape(n * models, models) @ mask.T
    return sums.reshape(n, models, len(mask)).transpose(0, 2, 1)


def row_spearman(x: Floats, y: Floats, *, min_models: int) -> Floats:
    """Return Spearman's rho of each row of `x` with the same row of `y`, over their common models."""
    common = np.isfinite(x) & np.isfinite(y)
    centred = [_centred(ranks(np.where(common, v, np.nan))) for v in (x, y)]
    with np.errstate(invalid="ignore", divide="ignore"):
        rho = (centred[0] * centred[1]).sum(axis=1) / np.sqrt(np.prod([(c**2).sum(axis=1) for c in centred], axis=0))
    return np.where(common.sum(axis=1) >= min_models, np.clip(rho, -1, 1), np.nan)


def _centred(ranked: Floats) -> Floats:
    """Return ranks minus their mean, 0 for a missing rank; the mean of n average ranks is (n + 1) / 2."""
    finite = np.isfinite(ranked)
    return np.where(finite, ranked - (finite.sum(axis=1, keepdims=True) + 1) / 2, 0.0)


def _unit(ranked: Floats) -> Floats:
    centred = ranked - ranked.mean(axis=1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        unit: Floats = centred / np.linalg.norm(centred, axis=1, keepdims=True)
    return unit


def _row_by_row(x: Floats, y: Floats) -> Floats:
    return np.array([row_spearman(np.broadcast_to(row, y.shape), y, min_models=0) for row in x])


def _masked_spearman(x: Floats, y: Floats) -> Floats:
    mask_x, mask_y = (np.isfinite(v).astype(np.float32) for v in (x, y))
    signs_y = signs(y)
    rho = np.empty((len(x), len(y)))
    for block in blocks(len(x), x.shape[1] * max(len(y), x.shape[1])):
        rank_x = within(signs(x[block]), mask_y) * mask_y[None]
        rank_y = within(signs_y, mask_x[block]).transpose(1, 0, 2) * mask_x[block][:, None]
        covariance = np.einsum("abm,abm->ab", rank_x, rank_y, dtype=np.float64)
        spread_x = np.einsum("abm,abm->ab", rank_x, rank_x, dtype=np.float64)
        spread_y = np.einsum("abm,abm->ab", rank_y, rank_y, dtype=np.float64)
        with np.errstate(invalid="ignore", divide="ignore"):
            rho[block] = covariance / np.sqrt(spread_x * spread_y)
    return rho
