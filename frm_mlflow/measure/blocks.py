"""How many runs make a block."""

from __future__ import annotations

import math

LEAST_BLOCKS = 20
"""Blocks in the smallest benchmark: the interval of a median of fewer pairs is a guess."""
SHORTEST_BLOCK_SECONDS = 0.02
"""A scheduler's time slice is some milliseconds: a block should hold several."""


def runs_in_block(median_seconds: float, *, runs: int, block_seconds: float) -> int:
    """Return how many runs of a model with this latency make one block.

    As many as fit into `block_seconds`, but no more than make `LEAST_BLOCKS` blocks of the
    benchmark's `runs`, unless the block would then be shorter than `SHORTEST_BLOCK_SECONDS`;
    at least one.
    """
    most = math.floor(block_seconds / median_seconds)
    wanted = max(math.ceil(runs / LEAST_BLOCKS), math.ceil(SHORTEST_BLOCK_SECONDS / median_seconds))
    return max(1, min(most, wanted))
