"""What disturbed the milliseconds of a measurement: remarks and not flags, since ratios to the baseline cancel it."""

from __future__ import annotations

from collections.abc import Sequence

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


def remarks(launches: Sequence[Floats], cpu_ns: Floats, *, on_cpu: bool) -> tuple[str, ...]:
    """Return, each with its figure, what shows that the machine was not steady.

    Parameters
    ----------
    launches
        Wall time of each launch in order, shape (blocks, runs in a block).
    cpu_ns
        Process CPU time of all blocks.
    on_cpu
        Whether the work is done by the process's own threads; otherwise CPU time says nothing.
    """
    blocks = np.concatenate(launches)
    medians = np.median(blocks, axis=1)
    found = []
    cv = estimate.block_cv(medians)
    if cv > LARGEST_BLOCK_CV:
        found.append(f"block_cv {cv:.1%}")
    drift = estimate.drift(_series(launches))
    if drift.is_significant and abs(drift.change) > LARGEST_DRIFT:
        found.append(f"drift {drift.change:+.1%}")
    part = contention(blocks, cpu_ns)
    if on_cpu and part > LARGEST_PART:
        found.append(f"contention {part:.1%}")
    return tuple(found)


def _series(launches: Sequence[Floats]) -> Floats:
    """Return the launches' medians, or the blocks' if there is one launch only."""
    if len(launches) > 1:
        return np.array([np.median(runs) for runs in launches])
    return np.asarray(np.median(launches[0], axis=1))


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
