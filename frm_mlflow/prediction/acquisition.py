"""How much a measurement would tell: the variance of frontier membership, and of latency, that it explains."""

from __future__ import annotations

import numpy as np

from frm_mlflow.analysis.arrays import Floats, Integers, Mask

LATENCY_SHARE = 1.0
"""Weight of what a measurement tells of latencies, beside one for what it tells of the frontier."""


def next_models(
    draws: Floats, members: Mask, allowed: Mask, *, n: int, latency_share: float = LATENCY_SHARE
) -> Integers:
    """Return up to `n` models whose measurement, together, is expected to tell most.

    `draws` (D, M) of log latency and `members` (D, M), the frontiers of those draws. A
    measurement explains the share of a variance that is linear in it; what earlier picks explain
    is taken out before the next pick (forward selection on draws).
    """
    latency = draws - draws.mean(axis=0)
    member = members - members.mean(axis=0, dtype=np.float64)
    uncertain = latency[:, allowed].any(axis=0)
    usable = np.flatnonzero(allowed)[uncertain]
    chosen: list[int] = []
    while len(chosen) < n and len(chosen) < usable.size:
        gain = _gain(latency, member, usable, latency_share)
        gain[np.isin(usable, chosen)] = -1.0
        best = int(usable[np.argmax(gain)])
        chosen.append(best)
        axis = latency[:, best] / max(float(np.linalg.norm(latency[:, best])), 1e-12)
        latency = latency - np.outer(axis, axis @ latency)
        member = member - np.outer(axis, axis @ member)
    return np.array(chosen, dtype=np.intp)


def frontier_doubt(probability: Floats) -> float:
    """Return how many models are expected to stand on the wrong side of the frontier if each goes by its odds."""
    return float(np.minimum(probability, 1 - probability).sum())


def _gain(latency: Floats, member: Floats, usable: Integers, latency_share: float) -> Floats:
    """Return each usable model's gain: explained variance of members and of latencies, each over its largest."""
    spread = np.maximum(np.linalg.norm(latency[:, usable], axis=0), 1e-12)
    unit = latency[:, usable] / spread
    undecided = member.any(axis=0)
    tells_frontier = _cut(unit, member[:, undecided])
    tells_latency = _cut(unit, latency)
    gain: Floats = _over_largest(tells_frontier) + latency_share * _over_largest(tells_latency)
    return gain


def _cut(unit: Floats, values: Floats) -> Floats:
    """Return the logarithm by which each direction cuts the variance of `values`.

    The logarithm keeps the first anchor honest: nearly all variance is the device's own level, which
    any model tells, and what matters is how little is left.
    """
    total = float((values**2).sum())
    if total == 0:
        return np.zeros(unit.shape[1])
    explained = ((unit.T @ values) ** 2).sum(axis=1) / total
    cut: Floats = -np.log1p(-np.minimum(explained, 1 - 1e-12))
    return cut


def _over_largest(values: Floats) -> Floats:
    largest = values.max(initial=0.0)
    return values / largest if largest > 0 else np.zeros_like(values)
