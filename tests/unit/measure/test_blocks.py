from __future__ import annotations

import pytest

from frm_mlflow.measure.blocks import SETTLING_SECONDS, runs_in_block, settling_runs


@pytest.mark.parametrize(
    ("median_s", "runs", "expected"),
    [
        (0.040, 100, 5),  # twenty blocks of five
        (0.100, 100, 2),  # more than two would not fit into a quarter of a second
        (0.001, 100, 20),  # five would finish within one time slice
        (0.0001, 100, 200),
        (1.0, 100, 1),  # one call is longer than a block
        (0.010, 700, 25),  # as many as fit
        (0.010, 10, 2),
    ],
)
def test_blocks_are_long_enough_to_time_and_short_enough_to_pair(median_s: float, runs: int, expected: int):
    assert runs_in_block(median_s, runs=runs, block_seconds=0.25) == expected


@pytest.mark.parametrize(
    ("median_s", "runs", "expected"),
    [(0.002, 10, 10), (0.0199, 5, 2), (0.0001, 100, 200), (0.05, 5, 1), (0.05, 2, 0), (1.0, 1, 0)],
)
def test_calls_that_follow_a_turn_are_left_out(median_s: float, runs: int, expected: int) -> None:
    assert settling_runs(median_s, runs=runs) == expected
    assert expected * median_s >= SETTLING_SECONDS or expected <= 1
