"""The belief about one quantity of every model on one device: a multivariate t distribution.

It is described by a location, a low-rank factor and a diagonal, so that thousands of models do not need a
models-by-models matrix. The t distribution is used instead of the normal because the shrunk covariance of
a dozen devices is uncertain. Its scale follows the anchors: if five anchors on a device
are surprising, the rest of that device is expected to be surprising too.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from scipy.linalg import cho_factor, cho_solve, solve_triangular
from scipy.stats import f as f_distribution
from scipy.stats import t as t_distribution

from frm_mlflow.analysis.arrays import Floats, Integers, Mask


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Anchors:
    """Models measured on the target: their positions (K,) and the logarithms of the measured values (K,)."""

    positions: Integers
    log_values: Floats

    @classmethod
    def none(cls) -> Anchors:
        """Return no anchors."""
        return cls(positions=np.zeros(0, dtype=np.intp), log_values=np.zeros(0))

    @classmethod
    def of_row(cls, row: Floats, positions: Integers) -> Anchors:
        """Return the anchors among `positions` for which `row` (M,) has a value."""
        finite = positions[np.isfinite(row[positions])]
        return cls(positions=finite, log_values=row[finite])

    def __len__(self) -> int:
        return len(self.positions)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Belief:
    """Multivariate t of M log values: location + factor @ z + sqrt(diagonal) * e, times the t's scale.

    `location` (M,), `factor` (M, R) and `diagonal` (M,) describe all models; `dof` are the
    degrees of freedom (infinite: Gaussian). `measured` marks models whose value is known.
    `absolute` is true if the level is known, and false if only ratios between models are.
    A model without a prediction has location NaN.
    """

    location: Floats
    factor: Floats
    diagonal: Floats
    dof: float = np.inf
    measured: Mask
    absolute: bool = False

    @property
    def scale(self) -> Floats:
        """Scale of each model's marginal t distribution, (M,)."""
        spread: Floats = np.sqrt(np.einsum("mr,mr->m", self.factor, self.factor) + self.diagonal)
        return spread

    def scaled(self, by: float) -> Belief:
        """Return the belief with every scale multiplied by `by`, except those of measured models."""
        factor = np.where(self.measured, 1.0, by)
        return replace(self, factor=self.factor * factor[:, None], diagonal=self.diagonal * factor**2)

    def interval(self, confidence: float) -> tuple[Floats, Floats]:
        """Return the ends of each model's central interval, (M,) and (M,)."""
        half = half_width(confidence, self.dof) * self.scale
        return self.location - half, self.location + half

    def quantiles(self, levels: Floats) -> Floats:
        """Return each model's quantiles, (L, M)."""
        quantiles: Floats = self.location + t_distribution.ppf(levels, self.dof)[:, None] * self.scale
        return quantiles

    def probability_below(self, limit: float) -> Floats:
        """Return each model's probability that its value is at most `limit`."""
        with np.errstate(divide="ignore", invalid="ignore"):
            z = (limit - self.location) / self.scale
        certain = (self.location <= limit).astype(np.float64)
        spread = t_distribution.cdf(z, self.dof)
        return np.where(np.isnan(self.location), np.nan, np.where(self.scale > 0, spread, certain))

    def draws(self, n: int, rng: np.random.Generator) -> Floats:
        """Return `n` joint draws, (n, M)."""
        common = rng.standard_normal((n, self.factor.shape[1])) @ self.factor.T
        individual = rng.standard_normal((n, self.location.size)) * np.sqrt(self.diagonal)
        widening = np.ones(n) if np.isinf(self.dof) else np.sqrt(self.dof / rng.chisquare(self.dof, n))
        drawn: Floats = self.location + (common + individual) * widening[:, None]
        return drawn

    def given(self, anchors: Integers, values: Floats, *, noise_sd: float) -> Belief:
        """Return the belief after `values` were measured for the models `anchors`.

        The conditional multivariate t in closed form (Ding, 2016): the Gaussian update with the
        scale multiplied by (dof + surprise) / (dof + anchors). All anchors must be given at once.
        """
        if len(anchors) == 0:
            return self
        update = _Update(self, anchors, values, noise_sd)
        widening = 1.0 if np.isinf(self.dof) else (self.dof + update.surprise) / (self.dof + len(anchors))
        measured = self.measured.copy()
        measured[anchors] = True
        location = update.location()
        location[anchors] = values
        diagonal = self.diagonal * widening
        diagonal[anchors] = 0.0
        factor = update.factor() * np.sqrt(widening)
        factor[anchors] = 0.0
        return replace(
            self,
            location=location,
            factor=factor,
            diagonal=diagonal,
            dof=self.dof + len(anchors),
            measured=measured,
            absolute=True,
        )

    def surprise(self, anchors: Integers, values: Floats, *, noise_sd: float) -> float:
        """Return the probability of anchors that agree with the history even less than `values` do.

        Under the belief, the squared Mahalanobis distance divided by k follows F(k, dof).
        """
        distance = _Update(self, anchors, values, noise_sd).surprise / len(anchors)
        dof = 1e9 if np.isinf(self.dof) else self.dof
        return float(f_distribution.sf(distance, len(anchors), dof))


def departures(belief: Belief, truth: Floats) -> Floats:
    """Return log errors (M,) of models that are neither anchors nor missing; NaN for the rest.

    If the belief does not include the device's level, errors are relative to their mean.
    """
    error = np.where(belief.measured, np.nan, truth - belief.location)
    if belief.absolute or not np.isfinite(error).any():
        return error
    centred: Floats = error - np.nanmean(error)
    return centred


@lru_cache(maxsize=256)
def half_width(confidence: float, dof: float) -> float:
    """Return the half-width of the central interval of a standard t distribution."""
    return float(t_distribution.ppf((1 + confidence) / 2, dof))


class _Update:
    """The Gaussian algebra of conditioning on k anchors; solves only k by k systems."""

    def __init__(self, belief: Belief, anchors: Integers, values: Floats, noise_sd: float) -> None:
        self._belief = belief
        self._rows = belief.factor[anchors]
        noise = belief.diagonal[anchors] + noise_sd**2
        self._system = cho_factor(self._rows @ self._rows.T + np.diag(noise), lower=True)
        self._weights = cho_solve(self._system, values - belief.location[anchors])
        self.surprise = float((values - belief.location[anchors]) @ self._weights)

    def location(self) -> Floats:
        shift: Floats = self._belief.factor @ (self._rows.T @ self._weights)
        return self._belief.location + shift

    def factor(self) -> Floats:
        """Return the factor times the root of I - A' S^-1 A, which changes only k directions."""
        whitened = solve_triangular(self._system[0], self._rows, lower=True)
        _, strength, directions = np.linalg.svd(whitened, full_matrices=False)
        kept = np.sqrt(np.maximum(1 - strength**2, 0.0))
        along: Floats = self._belief.factor @ directions.T
        root: Floats = self._belief.factor - (along * (1 - kept)) @ directions
        return root
