"""Why a measurement should be read with care."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from frm_mlflow.measure import estimate

Floats = NDArray[np.float64]

LARGEST_BLOCK_CV = 0.025
"""trtexec and pyperf warn at a few per cent; beyond 2.5 % the blocks saw different machines."""
LARGEST_DRIFT = 0.025
LARGEST_PART = 0.05
"""How far wall time may be above what CPU time explains."""
_LEAST_CONTENDED = 0.1


def instabilities(wall_ns: Floats, cpu_ns: Floats, *, on_cpu: bool) -> tuple[str, ...]:
    """Return the reasons, each with its figure, why these blocks are not from one steady machine.

    Parameters
    ----------
    wall_ns, cpu_ns
        Wall and process CPU time in order, shape (blocks, runs in a block).
    on_cpu
        Whether the work is done by the process's own threads; otherwise CPU time says nothing.
    """
    medians = np.median(wall_ns, axis=1)
    reasons = []
    cv = estimate.block_cv(medians)
    if cv > LARGEST_BLOCK_CV:
        reasons.append(f"block_cv {cv:.1%}")
    drift = estimate.drift(medians)
    if drift.is_significant and abs(drift.change) > LARGEST_DRIFT:
        reasons.append(f"drift {drift.change:+.1%}")
    part = contention(wall_ns, cpu_ns)
    if on_cpu and part > LARGEST_PART:
        reasons.append(f"contention {part:.1%}")
    return tuple(reasons)


def contention(wall_ns: Floats, cpu_ns: Floats) -> float:
    """Return how much longer a typical block waited than the least disturbed tenth of the blocks.

    A block's wall time over its CPU time is constant as long as its threads run undisturbed (one
    over the number of busy threads); another process that takes a core makes it rise. 0 where the
    clock is too coarse to see any CPU time.
    """
    cpu = cpu_ns.sum(axis=1)
    if not np.all(cpu > 0):
        return 0.0
    waiting = wall_ns.sum(axis=1) / cpu
    return float(np.median(waiting) / np.quantile(waiting, _LEAST_CONTENDED) - 1)
