"""Disturbances of measured times: reported as remarks, not flags, since they cancel in ratios to the baseline."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from frm_mlflow.measure import estimate

Floats = NDArray[np.float64]

LARGEST_BLOCK_CV = 0.025
"""trtexec and pyperf warn at a few per cent; above 2.5 % the machine's state differed between blocks."""
LARGEST_DRIFT = 0.025
LARGEST_PART = 0.05
"""Maximum fraction by which wall time may exceed what CPU time explains."""
_LEAST_CONTENDED = 0.1


def remarks(launches: Sequence[Floats], cpu_ns: Floats, *, on_cpu: bool) -> tuple[str, ...]:
    """Return the signs that the machine was not steady, each with its value.

    Parameters
    ----------
    launches
        Wall times of each launch in order, shape (blocks, runs in a block).
    cpu_ns
        Process CPU time of all blocks.
    on_cpu
        Whether the process's own threads do the work; otherwise CPU time is not meaningful.
    """
    blocks = np.concatenate(launches)
    medians = np.median(blocks, axis=1)
    reasons = []
    cv = estimate.block_cv(medians)
    if cv > LARGEST_BLOCK_CV:
        reasons.append(f"block_cv {cv:.1%}")
    drift = estimate.drift(_series(launches))
    if drift.is_significant and abs(drift.change) > LARGEST_DRIFT:
        reasons.append(f"drift {drift.change:+.1%}")
    part = contention(blocks, cpu_ns)
    if on_cpu and part > LARGEST_PART:
        reasons.append(f"contention {part:.1%}")
    return tuple(reasons)


def _series(launches: Sequence[Floats]) -> Floats:
    """Return the launches' medians, or the blocks' if there is only one launch."""
    if len(launches) > 1:
        return np.array([np.median(runs) for runs in launches])
    return np.asarray(np.median(launches[0], axis=1))


def contention(wall_ns: Floats, cpu_ns: Floats) -> float:
    """Return how much longer a typical block waited than the least disturbed tenth of the blocks.

    The ratio of a block's wall time to its CPU time is constant as long as its threads run undisturbed (one
    over the number of busy threads). It rises if another process takes a core. The result is 0 if the
    clock is too coarse to register any CPU time.
    """
    cpu = cpu_ns.sum(axis=1)
    if not np.all(cpu > 0):
        return 0.0
    waiting = wall_ns.sum(axis=1) / cpu
    return float(np.median(waiting) / np.quantile(waiting, _LEAST_CONTENDED) - 1)
