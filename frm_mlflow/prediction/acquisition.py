"""Value of a measurement: how much of the variance of frontier membership and of latency it explains."""

from __future__ import annotations

import numpy as np

from frm_mlflow.analysis.arrays import Floats, Integers, Mask

LATENCY_SHARE = 1.0
"""Weight of the information about latencies, relative to 1 for the information about the frontier."""


def next_models(
    draws: Floats, members: Mask, allowed: Mask, *, n: int, latency_share: float = LATENCY_SHARE
) -> Integers:
    """Return up to `n` models whose measurements together are expected to be most informative.

    `draws` (D, M) are draws of log latency and `members` (D, M) the frontiers of those draws. A
    measurement explains the share of a variance that is linear in it. What earlier picks explain
    is removed before the next pick (forward selection on draws).
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
    """Return the expected number of models on the wrong side of the frontier if each takes its more probable side."""
    return float(np.minimum(probability, 1 - probability).sum())


def _gain(latency: Floats, member: Floats, usable: Integers, latency_share: float) -> Floats:
    """Return each usable model's gain: explained variance of members and of latencies, each relative to its largest."""
    spread = np.maximum(np.linalg.norm(latency[:, usable], axis=0), 1e-12)
    unit = latency[:, usable] / spread
    undecided = member.any(axis=0)
    tells_frontier = _cut(unit, member[:, undecided])
    tells_latency = _cut(unit, latency)
    gain: Floats = _over_largest(tells_frontier) + latency_share * _over_largest(tells_latency)
    return gain


def _cut(unit: Floats, values: Floats) -> Floats:
    """Return the logarithm of the factor by which each direction reduces the variance of `values`.

    The logarithm matters for the first anchor: nearly all variance is the device's overall level, which
    any model reveals, so what matters is how little variance remains.
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
