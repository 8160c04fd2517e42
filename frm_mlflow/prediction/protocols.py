"""Data that is held out together: strict protocols for any history."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from frm_mlflow.analysis.arrays import Mask
from frm_mlflow.errors import DataError
from frm_mlflow.prediction.history import History
from frm_mlflow.schema import DEVICE, GENERATION, TIER


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class HeldOut:
    """One configuration to predict, and the configurations that may be used for training."""

    protocol: str
    part: str
    """The held-out part, or for tiers "source to target"."""
    row: int
    training: Mask


def held_out(history: History, protocol: str, *, min_models: int) -> Iterator[HeldOut]:
    """Yield the configurations to predict, each with at least `min_models` models.

    - `chip` (and `device`): all devices and runtimes of the chip are held out. A chip that is not
      known is replaced by its device. `device` differs only if one chip is listed under several devices.
    - `generation`: all chips of the chip generation or, if it is unknown, only the chip.
    - `tier`: trained on each other tier alone, without the target's chip.
    - `model`: as `chip`, but the caller hides models instead.

    Raises
    ------
    DataError
        If the history has no second part to learn from.
    """
    parts = _parts(history, protocol)
    enough = np.isfinite(history.log_latency).sum(axis=1) >= min_models
    if len(set(parts)) < 2:
        raise DataError(f"protocol {protocol}: the history holds one {protocol} only ({parts[0]})")
    if not enough.any():
        raise DataError(f"protocol {protocol}: no configuration has {min_models} models; lower evaluation.min_models")
    for row in np.flatnonzero(enough):
        others = history.chips != history.chips[row]
        if protocol != "tier":
            yield HeldOut(
                protocol=protocol, part=str(parts[row]), row=int(row), training=others & (parts != parts[row])
            )
            continue
        for source in sorted(set(parts) - {parts[row]}):
            yield HeldOut(
                protocol=protocol, part=f"{source} to {parts[row]}", row=int(row), training=others & (parts == source)
            )


def _parts(history: History, protocol: str) -> np.ndarray[tuple[int], np.dtype[np.object_]]:
    table = history.configurations
    if protocol == "tier":
        return table[TIER.column].to_numpy(dtype=object)
    if protocol == "device":
        return table[DEVICE.column].to_numpy(dtype=object)
    if protocol == "generation":
        generation = table[GENERATION.column].to_numpy(dtype=object)
        return np.where(generation == "", history.chips, generation)
    return history.chips
