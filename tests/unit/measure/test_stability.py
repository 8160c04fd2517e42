from __future__ import annotations

import numpy as np
import pytest

from frm_mlflow.measure.stability import contention, instabilities


@pytest.fixture
def steady() -> np.ndarray:
    return 1e6 * (1 + 0.01 * np.random.default_rng(0).standard_normal((30, 10)))


def test_a_steady_machine_gives_no_reason(steady: np.ndarray):
    assert instabilities(steady, steady, on_cpu=True) == ()
    assert instabilities(steady, 4 * steady, on_cpu=True) == ()


def test_blocks_that_differ_are_flagged_with_the_figure(steady: np.ndarray):
    noisy = np.tile([[100.0] * 4, [110.0] * 4], (15, 1))
    cv = np.std(noisy[:, 0], ddof=1) / 105
    assert instabilities(noisy, noisy, on_cpu=True) == (f"block_cv {cv:.1%}",)


def test_a_machine_that_gets_slower_is_flagged(steady: np.ndarray):
    slower = steady * np.linspace(1, 1.07, 30)[:, None]
    assert [reason.split()[0] for reason in instabilities(slower, slower, on_cpu=True)] == ["drift"]


def test_waiting_for_the_processor_is_flagged(steady: np.ndarray):
    share = np.where(np.arange(30) % 5 == 0, 1.0, 1.2)[:, None]
    assert contention(steady * share, steady) == pytest.approx(0.2, abs=0.01)
    reasons = instabilities(steady, steady / share, on_cpu=True)
    assert [reason.split()[0] for reason in reasons] == ["contention"]


def test_on_an_accelerator_processor_time_says_nothing(steady: np.ndarray):
    share = np.where(np.arange(30) % 5 == 0, 1.0, 1.2)[:, None]
    assert instabilities(steady, steady / share, on_cpu=False) == ()


def test_a_clock_too_coarse_for_processor_time_shows_no_contention(steady: np.ndarray):
    assert contention(steady, np.zeros_like(steady)) == 0.0
