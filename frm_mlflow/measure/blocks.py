"""How many runs make a block, and how many before it are not timed."""

from __future__ import annotations

import math

LEAST_BLOCKS = 20
"""Blocks in the smallest benchmark: the interval of a median of fewer pairs is a guess."""
SHORTEST_BLOCK_SECONDS = 0.02
"""A scheduler's time slice is some milliseconds: a block should hold several."""
SETTLING_SECONDS = 0.02
"""How long a call may be slower after the other process had the core: caches are cold, the clock is still rising.

Of mobilenet_v3_small's calls of 2 ms the second after a turn took 62 % longer, the third 31 %, the fourth 7 %,
and from the fifth on nothing showed (2-core Intel Xeon VM, 2026-11-26, with Python's collector run after the first;
docs/adr/0106).
"""
_SETTLED_BLOCK = 3
"""From this many runs on a block may afford one call that is not timed, however long it takes."""


def runs_in_block(median_seconds: float, *, runs: int, block_seconds: float) -> int:
    """Return how many runs of a model with this latency make one block.

    As many as fit into `block_seconds`, but no more than make `LEAST_BLOCKS` blocks of the
    benchmark's `runs`, unless the block would then be shorter than `SHORTEST_BLOCK_SECONDS`;
    at least one.
    """
    most = math.floor(block_seconds / median_seconds)
    wanted = max(math.ceil(runs / LEAST_BLOCKS), math.ceil(SHORTEST_BLOCK_SECONDS / median_seconds))
    return max(1, min(most, wanted))


def settling_runs(median_seconds: float, *, runs: int) -> int:
    """Return how many calls before a block of `runs` are not timed: those of `SETTLING_SECONDS`, or one."""
    if median_seconds < SETTLING_SECONDS:
        return math.ceil(SETTLING_SECONDS / median_seconds)
    return 1 if runs >= _SETTLED_BLOCK else 0
