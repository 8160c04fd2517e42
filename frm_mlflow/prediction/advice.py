"""When to trust the transfer and when to measure: the paper's section 7.2, decided from the available data."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from frm_mlflow.analysis.arrays import Floats, Mask, Words
from frm_mlflow.analysis.matrix import ResultMatrix
from frm_mlflow.prediction.history import Scene
from frm_mlflow.prediction.learning import Learnt

_CONTRADICTION = 0.01
_TROUBLED = 1.5
"""A family whose left-out error is this many times that of the others should be validated first."""
_MIN_FAMILY_VALUES = 10


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Advice:
    """Sentences for the user, one flag text per model ("" for none), and the errors of families on left-out chips."""

    sentences: tuple[str, ...]
    flags: Words
    families: pd.DataFrame


def advice_of(scene: Scene, learnt: Learnt, surprise: float) -> Advice:
    """Return the warnings about a prediction.

    `surprise` is the probability of anchors at least as unusual as the given ones.
    """
    families = family_errors(scene.sources, learnt, scene)
    troubled = tuple(families.loc[families["validate_first"], "family"])
    flags = _flags(scene, troubled)
    sentences = list(scene.notes)
    if surprise < _CONTRADICTION:
        sentences.append(
            f"The anchors contradict the history (p = {surprise:.1g}). Check whether the device or the runtime is "
            "mislabelled, the device was throttled, or the unit is not ms. Measure one of them again before you trust "
            "the predictions."
        )
    for family in troubled:
        error = float(families.set_index("family").loc[family, "median_error"])
        sentences.append(
            f"Validate {family} models on the target first: on left-out chips their median error was {error:.0%}."
        )
    unseen = int(_unseen(scene.sources).sum())
    if unseen:
        models = "model was" if unseen == 1 else "models were"
        sentences.append(
            f"{unseen} {models} not measured on any source device: predicted from GMACs, parameters and family alone."
        )
    return Advice(sentences=tuple(sentences), flags=flags, families=families)


def family_errors(sources: ResultMatrix, learnt: Learnt, scene: Scene) -> pd.DataFrame:
    """Return the median relative error of each family on left-out chips, given the same anchors."""
    errors = learnt.errors(scene.anchors)
    rows = []
    for family in np.unique(sources.families):
        members = sources.families == family
        inside, outside = (_median_error(errors[:, mask]) if errors.size else np.nan for mask in (members, ~members))
        values = int(np.isfinite(errors[:, members]).sum()) if errors.size else 0
        suspicious = bool(values >= _MIN_FAMILY_VALUES and inside > _TROUBLED * outside)
        rows.append((family, int(members.sum()), values, inside, suspicious))
    return pd.DataFrame(rows, columns=["family", "models", "left_out_values", "median_error", "validate_first"])


def _median_error(errors: Floats) -> float:
    errors = errors[np.isfinite(errors)]
    return float(np.median(np.abs(np.expm1(errors)))) if errors.size else float("nan")


def _flags(scene: Scene, troubled: tuple[str, ...]) -> Words:
    sources = scene.sources
    unseen = _unseen(sources)
    alike = (sources.groups == scene.group).all(axis=1)
    measured = np.isfinite(sources.log_latency[alike]).any(axis=0)
    flags = []
    for index, family in enumerate(sources.families):
        words = []
        if unseen[index]:
            words.append("not measured on any source device")
        elif not measured[index]:
            words.append("not measured in this runtime and precision")
        if family in troubled:
            words.append(f"{family}: validate first")
        if np.isnan(sources.facts.top1[index]):
            words.append("no accuracy")
        flags.append("; ".join(words))
    return np.array(flags, dtype=object)


def _unseen(sources: ResultMatrix) -> Mask:
    return np.logical_not(np.isfinite(sources.log_latency).any(axis=0))
