"""Predictors with a common interface: learn from the history once, then form beliefs given any anchors.

`transfer` is this project's predictor and `ridge` and `static` are its fallbacks. `mean_of_sources`,
`single_source`, `flops` and `algorithm1` (the paper's) are controls, scored alongside it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, Protocol, TypeAlias

import numpy as np

from frm_mlflow.analysis.arrays import Floats, Integers, Words
from frm_mlflow.analysis.frm import log_frm
from frm_mlflow.analysis.matrix import ResultMatrix
from frm_mlflow.errors import ConfigError, DataError
from frm_mlflow.prediction.belief import Anchors, Belief
from frm_mlflow.prediction.prior import Profiles, Shrinkage, fit_prior, mean_profile, with_level
from frm_mlflow.prediction.regression import few_shot, fit_static, static_features

Quantity: TypeAlias = Literal["latency", "memory"]
_POINT_SD = 0.2
"""Spread of a predictor without a spread estimate, before calibration."""


class Model(Protocol):
    """A trained predictor."""

    def beliefs(self, anchors: Anchors) -> list[Belief]:
        """Return the beliefs given the anchors; one belief for each source that is used alone."""


class Predictor(Protocol):
    """Learns from a history how a device of `group` (tier, runtime, precision, compute unit) behaves."""

    def __call__(self, history: ResultMatrix, group: Words, quantity: Quantity) -> Model:
        """Return the predictor trained on `history`, which does not include the target."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Gaussian:
    """The empirical-Bayes prior (`prior`), conditioned on anchors in closed form."""

    prior: Belief
    noise_sd: float

    def beliefs(self, anchors: Anchors) -> list[Belief]:
        """Return the single posterior."""
        if not len(anchors):
            return [self.prior]
        return [with_level(self.prior).given(anchors.positions, anchors.log_values, noise_sd=self.noise_sd)]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Points:
    """Fixed log costs (S, M), one row per source; anchors only set the level."""

    locations: Floats

    def beliefs(self, anchors: Anchors) -> list[Belief]:
        """Return each source's belief."""
        return [point_belief(location, anchors) for location in self.locations]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FewShot:
    """Ridge regression of the anchors' departures from the mean profile on the sources' departures."""

    location: Floats
    features: Floats

    def beliefs(self, anchors: Anchors) -> list[Belief]:
        """Return the single regression."""
        return [point_belief(few_shot(self.location, self.features, anchors), anchors)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Transfer:
    """The predictor `transfer`, with the settings of its prior."""

    settings: Shrinkage = field(default_factory=Shrinkage)
    noise_sd: float = 0.02

    def __call__(self, history: ResultMatrix, group: Words, quantity: Quantity) -> Gaussian:
        """Fit the prior."""
        features = static_features(history)
        prior = fit_prior(profiles_of(history, quantity), group, features, history.families, self.settings)
        return Gaussian(prior=prior, noise_sd=self.noise_sd)


def ridge(history: ResultMatrix, group: Words, quantity: Quantity) -> FewShot:
    """Few-shot ridge: linear in the sources' profiles and in the static facts about models."""
    profiles = profiles_of(history, quantity)
    weights = profiles.weights(group, Shrinkage().kin)
    profile, level = mean_profile(profiles.values, weights)
    left = profiles.values - level[:, None] - profile
    departures = np.nan_to_num(left * np.sqrt(weights)[:, None])
    _, strength, directions = np.linalg.svd(departures, full_matrices=False)
    main = (directions * strength[:, None])[:4].T
    features = np.column_stack([main, np.nan_to_num(profile), np.nan_to_num(static_features(history))])
    return FewShot(location=_filled(profile + np.average(level, weights=weights), history), features=features)


def static(history: ResultMatrix, group: Words, quantity: Quantity) -> Points:
    """Regression on GMACs, parameters, activations and family alone; does not use model names."""
    profiles = profiles_of(history, quantity)
    profile, level = mean_profile(profiles.values, profiles.weights(group, Shrinkage().kin))
    return Points(locations=(fit_static(static_features(history), profile).location + level.mean())[None])


def mean_of_sources(history: ResultMatrix, group: Words, quantity: Quantity) -> Points:
    """Use the mean log cost over the configurations most like the target, each relative to its level."""
    profiles = profiles_of(history, quantity)
    alike = profiles.select(_nearest(profiles, group))
    profile, level = mean_profile(alike.values, alike.weights(group, 1.0))
    return Points(locations=(profile + level.mean())[None])


def single_source(history: ResultMatrix, group: Words, quantity: Quantity) -> Points:
    """Use each of the configurations most like the target alone."""
    profiles = profiles_of(history, quantity)
    return Points(locations=profiles.values[_nearest(profiles, group)])


def flops(history: ResultMatrix, group: Words, quantity: Quantity) -> Points:
    """Use FLOPs as the cost."""
    del group, quantity
    return Points(locations=np.log(history.facts.gmacs)[None])


def algorithm1(history: ResultMatrix, group: Words, quantity: Quantity) -> Points:
    """Rank the target by FRM on one source device, with each source alone (paper, Algorithm 1).

    Log FRM is computed up to a constant per device, which does not affect any rank or frontier: the mean of the
    logs of FLOPs, latency and memory (paper eq. 1).
    """
    del quantity
    nearest = _nearest(profiles_of(history, "latency"), group)
    frm = log_frm(np.log(history.facts.gmacs), history.log_latency[nearest], history.log_memory[nearest])
    finite = np.isfinite(frm).any(axis=1)
    if not finite.any():
        raise DataError("algorithm1 needs FLOPs, latency and memory of one model on one source; the history has none")
    return Points(locations=frm[finite])


PREDICTORS: dict[str, Predictor | Callable[[ResultMatrix, Words, Quantity], Model]] = {
    "transfer": Transfer(),
    "ridge": ridge,
    "mean_of_sources": mean_of_sources,
    "static": static,
    "single_source": single_source,
    "flops": flops,
    "algorithm1": algorithm1,
}
"""By name, the most trusted first: the automatic choice prefers the earlier of two equal ones."""


def predictor_named(
    name: str, *, settings: Shrinkage, noise_sd: float
) -> Predictor | Callable[[ResultMatrix, Words, Quantity], Model]:
    """Return the predictor with this name.

    Raises
    ------
    ConfigError
        If there is no predictor with that name.
    """
    if name not in PREDICTORS:
        raise ConfigError(f"predictor must be auto or one of {', '.join(PREDICTORS)}, got '{name}'")
    return Transfer(settings=settings, noise_sd=noise_sd) if name == "transfer" else PREDICTORS[name]


def profiles_of(history: ResultMatrix, quantity: Quantity) -> Profiles:
    """Return latency or memory of the configurations that have it, as profiles.

    Raises
    ------
    DataError
        If no configuration has it.
    """
    values = history.log_latency if quantity == "latency" else history.log_memory
    finite = np.isfinite(values).any(axis=1)
    if not finite.any():
        raise DataError(f"no {quantity} to learn from on any source device: add benchmarks or widen the sources")
    return Profiles(values=values[finite], groups=history.groups[finite], chips=history.chips[finite])


def point_belief(location: Floats, anchors: Anchors) -> Belief:
    """Return a belief with independent models around `location` and the level set by the anchors."""
    finite = np.isfinite(location[anchors.positions])
    shift = float(np.mean((anchors.log_values - location[anchors.positions])[finite])) if finite.any() else 0.0
    placed = location + shift
    diagonal = np.full(location.size, _POINT_SD**2)
    measured = np.zeros(location.size, dtype=np.bool_)
    placed[anchors.positions], diagonal[anchors.positions], measured[anchors.positions] = anchors.log_values, 0.0, True
    return Belief(
        location=placed,
        factor=np.zeros((location.size, 0)),
        diagonal=diagonal,
        measured=measured,
        absolute=bool(finite.any()),
    )


def _nearest(profiles: Profiles, group: Words) -> Integers:
    """Return the configurations that share the most of tier, runtime, precision and compute unit."""
    differing = (profiles.groups != group).sum(axis=1)
    return np.flatnonzero(differing == differing.min())


def _filled(location: Floats, history: ResultMatrix) -> Floats:
    if np.isfinite(location).all():
        return location
    return np.where(np.isfinite(location), location, fit_static(static_features(history), location).location)
