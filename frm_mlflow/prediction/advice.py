"""When to trust the transfer and when to measure: the paper's section 7.2, decided from the available data."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from frm_mlflow.analysis.arrays import Floats, Mask, Words
from frm_mlflow.prediction.history import History
from frm_mlflow.prediction.learning import Learnt
from frm_mlflow.prediction.scene import Scene

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
            f"The anchors contradict all that is known (p = {surprise:.1g}): is the device or the runtime mislabelled, "
            "was it throttled, or is the unit not ms? Measure one of them again before you trust the rest."
        )
    for family in troubled:
        error = float(families.set_index("family").loc[family, "median_error"])
        sentences.append(
            f"Validate {family} models on the target first: on left-out chips their median error was {error:.0%}."
        )
    unseen = int(_unseen(scene.sources).sum())
    if unseen:
        ran = "model" if unseen == 1 else "models"
        sentences.append(f"{unseen} {ran} ran on no source: predicted from GMACs, parameters and family alone.")
    return Advice(sentences=tuple(sentences), flags=flags, families=families)


def family_errors(sources: History, learnt: Learnt, scene: Scene) -> pd.DataFrame:
    """Return the median relative error of each family on left-out chips, given the same anchors."""
    errors = learnt.errors(scene.anchors)
    rows = []
    for family in np.unique(sources.families):
        own, rest = sources.families == family, sources.families != family
        mine, others = (_median_error(errors[:, mask]) if errors.size else np.nan for mask in (own, rest))
        values = int(np.isfinite(errors[:, own]).sum()) if errors.size else 0
        suspicious = bool(values >= _MIN_FAMILY_VALUES and mine > _TROUBLED * others)
        rows.append((family, int(own.sum()), values, mine, suspicious))
    return pd.DataFrame(rows, columns=["family", "models", "left_out_values", "median_error", "validate_first"])


def _median_error(errors: Floats) -> float:
    known = errors[np.isfinite(errors)]
    return float(np.median(np.abs(np.expm1(known)))) if known.size else float("nan")


def _flags(scene: Scene, troubled: tuple[str, ...]) -> Words:
    sources = scene.sources
    unseen = _unseen(sources)
    alike = (sources.groups == scene.group).all(axis=1)
    here = np.isfinite(sources.log_latency[alike]).any(axis=0)
    flags = []
    for index, family in enumerate(sources.families):
        words = []
        if unseen[index]:
            words.append("never run on a source")
        elif not here[index]:
            words.append("never run in this runtime and precision")
        if family in troubled:
            words.append(f"{family}: validate first")
        if np.isnan(sources.top1[index]):
            words.append("no accuracy")
        flags.append("; ".join(words))
    return np.array(flags, dtype=object)


def _unseen(sources: History) -> Mask:
    return np.logical_not(np.isfinite(sources.log_latency).any(axis=0))
