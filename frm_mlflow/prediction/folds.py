"""Chips of the history that act as the target, each left out in turn with all its data."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from frm_mlflow.analysis.arrays import Floats, Integers, Words
from frm_mlflow.prediction.belief import Belief
from frm_mlflow.prediction.history import History
from frm_mlflow.prediction.predictors import Quantity

MAX_LEFT_OUT = 24
"""Maximum number of configurations left out in turn: the target's group first, then others evenly spaced."""
MIN_TRUTHS = 5


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Twin:
    """A configuration of the history that acts as the target, and the history without its chip."""

    chip: object
    group: Words
    truth: Floats
    history: History


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Fold:
    """A history without the target of `group`, with the target's twins."""

    history: History
    group: Words
    quantity: Quantity
    twins: tuple[Twin, ...]


def fold_of(history: History, group: Words, quantity: Quantity) -> Fold:
    """Return the fold of a target; predictors to be compared share it."""
    values = history.log_latency if quantity == "latency" else history.log_memory
    twins = [
        Twin(
            chip=history.chips[row],
            group=history.groups[row],
            truth=values[row],
            history=history.select(history.chips != history.chips[row]),
        )
        for row in left_out_rows(history, values, group)
    ]
    return Fold(history=history, group=group, quantity=quantity, twins=tuple(twins))


def left_out_rows(history: History, values: Floats, group: Words) -> Integers:
    """Return the configurations that act as the target, at most `MAX_LEFT_OUT`.

    Those of the target's group come first, then others evenly spaced. There are none if there is only one chip.
    """
    if len(set(history.chips[np.isfinite(values).any(axis=1)])) < 2:
        return np.zeros(0, dtype=np.intp)
    judged = np.isfinite(values).sum(axis=1) >= MIN_TRUTHS
    own = (history.groups == group).all(axis=1)
    first, others = np.flatnonzero(judged & own)[:MAX_LEFT_OUT], np.flatnonzero(judged & ~own)
    room = min(MAX_LEFT_OUT - len(first), len(others))
    spread = others[np.linspace(0, len(others) - 1, room).astype(np.intp)] if room else others[:0]
    return np.concatenate([first, spread])


def departures(belief: Belief, truth: Floats) -> Floats:
    """Return log errors (M,) of models that are neither anchors nor missing; NaN for the rest.

    If the belief does not include the device's level, errors are relative to their mean.
    """
    error = np.where(belief.measured, np.nan, truth - belief.location)
    if belief.absolute or not np.isfinite(error).any():
        return error
    centred: Floats = error - np.nanmean(error)
    return centred
