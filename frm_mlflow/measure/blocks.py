"""How many runs form a block, and how many untimed runs come before it."""

from __future__ import annotations

import math

LEAST_BLOCKS = 20
"""Minimum number of blocks in a benchmark: with fewer pairs the interval of the median is a guess."""
SHORTEST_BLOCK_SECONDS = 0.02
"""A scheduler's time slice is a few milliseconds, and a block should span several."""
SETTLING_SECONDS = 0.02
"""How long calls may be slower after the other process used the core: caches are cold, the clock is still rising.

Of mobilenet_v3_small's 2 ms calls, the second after a turn took 62 % longer, the third 31 %, the fourth 7 %,
and from the fifth on there was no effect (2-core Intel Xeon VM, 2026-11-26, with Python's collector run after
the first; docs/adr/0009).
"""
_SETTLED_BLOCK = 3
"""A block of at least this many runs can afford one untimed call, however long it takes."""


def runs_in_block(median_seconds: float, *, runs: int, block_seconds: float) -> int:
    """Return how many runs of a model with this latency form one block.

    As many as fit into `block_seconds`, but few enough to split the
    benchmark's `runs` into `LEAST_BLOCKS` blocks, unless a block would then be shorter than `SHORTEST_BLOCK_SECONDS`;
    at least one.
    """
    most = math.floor(block_seconds / median_seconds)
    least = max(math.ceil(runs / LEAST_BLOCKS), math.ceil(SHORTEST_BLOCK_SECONDS / median_seconds))
    return max(1, min(most, least))


def settling_runs(median_seconds: float, *, runs: int) -> int:
    """Return the number of untimed calls before a block of `runs`: enough for `SETTLING_SECONDS`, or at most one."""
    if median_seconds < SETTLING_SECONDS:
        return math.ceil(SETTLING_SECONDS / median_seconds)
    return 1 if runs >= _SETTLED_BLOCK else 0
