"""The belief about a device before anything is measured on it: an empirical-Bayes prior.

Every configuration of the history is modelled as a device level plus a profile over models. Profiles
of configurations that share tier, runtime, precision and compute unit with the target have full
weight, others less. The prior's location is the weighted mean profile. Its covariance is that of
the devices' departures from their group's mean, shrunk towards one in which models of
the same family, and models of similar size, depart together:

    covariance = (1 - shrink) * sample + shrink * structured

A dozen devices cannot determine the covariance of forty models, let alone two thousand. The weight of other
groups and the amount of shrinkage are chosen on the history (`tuning`).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from frm_mlflow.analysis.arrays import Floats, Integers, Mask, Words
from frm_mlflow.errors import DataError
from frm_mlflow.prediction.belief import Belief
from frm_mlflow.prediction.regression import StaticFit, fit_static

_FAMILY, _SIZE, _SLOPE, _OWN = 0.25, 0.25, 0.17, 0.33
"""Shares of the structured covariance: family, size, slope in size, individual model."""
_SIZE_REACH = 0.7
"""Length scale: models whose log latencies differ by this much still depart together."""
_LEVEL_SD = 2.0
"""Spread of a device's level: a factor of seven in either direction, so that one anchor determines it."""
_LONE_SD = 0.25
"""Departure assumed if fewer than two chips are available to estimate it."""
_SWEEPS = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Shrinkage:
    """Settings of the prior; the first two are chosen on the history (`tuning`) if it has enough chips."""

    kin: float = 0.1
    """Factor on a configuration's weight for each of tier, runtime, precision and compute unit that differs."""
    shrink: float = 0.5
    """Share of the structured covariance, and how far variances are shrunk to their mean."""
    dof: float = 5.0
    """Degrees of freedom of the t distribution: how much the size of departures varies between devices."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Profiles:
    """Configurations as profiles: values (C, M), the group (C, 4) and the chip (C,) of each."""

    values: Floats
    groups: Words
    chips: Words

    def __post_init__(self) -> None:
        if not np.isfinite(self.values).any():
            raise DataError("no value to learn from on any source device: add benchmarks or widen sources=")

    def select(self, rows: Mask | Integers) -> Profiles:
        """Return the given configurations."""
        return Profiles(values=self.values[rows], groups=self.groups[rows], chips=self.chips[rows])

    def weights(self, group: Words, kin: float) -> Floats:
        """Return each configuration's weight for a target of `group`; a chip counts once per group."""
        alike = kin ** (self.groups != group).sum(axis=1)
        weights: Floats = alike / self._twins
        return weights

    @cached_property
    def _twins(self) -> Integers:
        """Number of configurations with the same chip and group as each one."""
        keys = np.array(["|".join(map(str, [chip, *key])) for chip, key in zip(self.chips, self.groups, strict=True)])
        _, code, counts = np.unique(keys, return_inverse=True, return_counts=True)
        twins: Integers = counts[code]
        return twins


def mean_profile(values: Floats, weights: Floats) -> tuple[Floats, Floats]:
    """Return the weighted mean profile (M,) and each row's level (C,), ignoring missing entries.

    The profile has mean zero over its models; a model missing from every row is NaN. This is the weighted
    least-squares fit of value = level + profile, by alternating means.
    """
    finite = np.isfinite(values)
    filled = np.where(finite, values, 0.0)
    weighted = weights[:, None] * finite
    column_weight = weighted.sum(axis=0)
    row_count = np.maximum(finite.sum(axis=1), 1)
    profile = np.zeros(values.shape[1])
    level = np.zeros(len(values))
    for _ in range(_SWEEPS):
        level = (filled.sum(axis=1) - finite @ profile) / row_count
        with np.errstate(invalid="ignore", divide="ignore"):
            profile = np.einsum("cm,cm->m", weighted, filled - level[:, None]) / column_weight
        profile = np.where(column_weight > 0, profile, 0.0)
        profile -= profile[column_weight > 0].mean()
    level = (filled.sum(axis=1) - finite @ profile) / row_count
    return np.where(column_weight > 0, profile, np.nan), level


@dataclass(frozen=True, kw_only=True, eq=False)
class Moments:
    """Estimates from the configurations before shrinkage: location (M,), departures (M, C) and their variance (M,).

    `unseen` (M,) is the residual variance of the regression on static facts, for models without a profile.
    """

    location: Floats
    factor: Floats
    variance: Floats
    unseen: Floats
    families: Words

    def shrunk(self, settings: Shrinkage) -> Belief:
        """Return the belief about a device that is not in the history; its level is not included yet."""
        shrink = settings.shrink
        variance = (1 - shrink) * self.variance + shrink * self.variance.mean()
        structured = np.sqrt(variance)[:, None] * self._alike
        return Belief(
            location=self.location,
            factor=np.hstack([np.sqrt(1 - shrink) * self.factor, np.sqrt(shrink) * structured]),
            diagonal=shrink * _OWN * variance + self.unseen + 1e-6,
            dof=settings.dof,
            measured=np.zeros(self.location.size, dtype=np.bool_),
        )

    @cached_property
    def _alike(self) -> Floats:
        return _alike(self.location, self.families)


def fit_prior(profiles: Profiles, group: Words, features: Floats, families: Words, settings: Shrinkage) -> Belief:
    """Return the belief about a device of `group` that is not in `profiles`.

    `features` (M, P) are used for models without a profile; one without features has location NaN.
    """
    return moments_of(profiles, group, features, families, kin=settings.kin).shrunk(settings)


def moments_of(profiles: Profiles, group: Words, features: Floats, families: Words, *, kin: float) -> Moments:
    """Return location and departures for a device of `group`, with other groups weighted by `kin` per difference."""
    weights = profiles.weights(group, kin)
    profile, level = mean_profile(profiles.values, weights)
    static = _for_unseen(features, profile)
    factor, variance = _departures(profiles, weights, kin)
    return Moments(
        location=np.where(np.isfinite(profile), profile, static.location) + np.average(level, weights=weights),
        factor=factor,
        variance=variance,
        unseen=np.where(np.isfinite(profile), 0.0, np.nan_to_num(static.residual_sd) ** 2),
        families=families,
    )


def with_level(belief: Belief) -> Belief:
    """Return the belief with an unknown device level, as it is before the first anchor."""
    ones = np.full((belief.location.size, 1), _LEVEL_SD)
    return Belief(
        location=belief.location,
        factor=np.hstack([belief.factor, ones]),
        diagonal=belief.diagonal,
        dof=belief.dof,
        measured=belief.measured,
    )


def _for_unseen(features: Floats, profile: Floats) -> StaticFit:
    if (~np.isfinite(profile) & np.isfinite(features).all(axis=1)).any():
        return fit_static(features, profile)
    return StaticFit(location=np.full(profile.size, np.nan), residual_sd=0.0)


def _departures(profiles: Profiles, weights: Floats, kin: float) -> tuple[Floats, Floats]:
    """Return a factor (M, C) of the sample covariance of departures, and its diagonal (M,)."""
    residual = np.full(profiles.values.shape, np.nan)
    for group in np.unique(profiles.groups.astype(str), axis=0):
        rows = (profiles.groups == group).all(axis=1)
        group_weights = profiles.weights(group, kin)
        profile, _ = mean_profile(profiles.values, group_weights)
        left = profiles.values[rows] - profile
        left -= np.nanmean(left, axis=1, keepdims=True)
        residual[rows] = left * _small_sample(group_weights)
    finite = np.isfinite(residual)
    if len(set(profiles.chips)) < 2:
        return np.zeros((profiles.values.shape[1], 0)), np.full(profiles.values.shape[1], _LONE_SD**2)
    seen = (weights[:, None] * finite).sum(axis=0)
    root = np.where(finite, residual, 0.0) * np.sqrt(weights)[:, None]
    factor = (root / np.sqrt(np.where(seen > 0, seen, 1.0))).T
    variance = np.einsum("mc,mc->m", factor, factor)
    return factor, np.where(seen > 0, variance, variance[seen > 0].mean())


def _small_sample(weights: Floats) -> float:
    """Return the small-sample factor for departures from a mean to which they themselves contribute."""
    effective = weights.sum() ** 2 / (weights**2).sum()
    return float(np.sqrt(effective / max(effective - 1, 1.0)))


def _alike(location: Floats, families: Words) -> Floats:
    """Return a factor of the correlation in which similar models depart together, without individual models' shares."""
    size = np.nan_to_num(location - np.nanmean(location))
    slope = size / max(float(np.sqrt(np.mean(size**2))), 1e-9)
    member = (families[:, None] == np.unique(families)[None, :]).astype(np.float64)
    blocks = [np.sqrt(_FAMILY) * member, np.sqrt(_SIZE) * _near_in_size(size), np.sqrt(_SLOPE) * slope[:, None]]
    return np.hstack(blocks)


def _near_in_size(size: Floats) -> Floats:
    """Return a factor of the squared-exponential kernel in log size (Nystroem on a grid)."""
    grid = np.arange(size.min(), size.max() + _SIZE_REACH, _SIZE_REACH)

    def kernel(a: Floats, b: Floats) -> Floats:
        near: Floats = np.exp(-0.5 * ((a[:, None] - b[None, :]) / _SIZE_REACH) ** 2)
        return near

    values, vectors = np.linalg.eigh(kernel(grid, grid) + 1e-8 * np.eye(grid.size))
    factor: Floats = kernel(size, grid) @ (vectors / np.sqrt(values))
    return factor
