from __future__ import annotations

import numpy as np
import pytest

from frm_mlflow.measure.stability import contention, remarks


@pytest.fixture
def steady() -> np.ndarray:
    return 1e6 * (1 + 0.01 * np.random.default_rng(0).standard_normal((30, 10)))


def test_a_steady_machine_gives_no_remark(steady: np.ndarray):
    assert remarks([steady], steady, on_cpu=True) == ()
    assert remarks([steady], 4 * steady, on_cpu=True) == ()


def test_blocks_that_differ_are_remarked_with_the_figure(steady: np.ndarray):
    noisy = np.tile([[100.0] * 4, [110.0] * 4], (15, 1))
    cv = np.std(noisy[:, 0], ddof=1) / 105
    assert remarks([noisy], noisy, on_cpu=True) == (f"block_cv {cv:.1%}",)


def test_a_machine_that_gets_slower_is_remarked(steady: np.ndarray):
    slower = steady * np.linspace(1, 1.07, 30)[:, None]
    assert [remark.split()[0] for remark in remarks([slower], slower, on_cpu=True)] == ["drift"]


def test_waiting_for_the_processor_is_remarked(steady: np.ndarray):
    share = np.where(np.arange(30) % 5 == 0, 1.0, 1.2)[:, None]
    assert contention(steady * share, steady) == pytest.approx(0.2, abs=0.01)
    found = remarks([steady], steady / share, on_cpu=True)
    assert [remark.split()[0] for remark in found] == ["contention"]


def test_on_an_accelerator_processor_time_says_nothing(steady: np.ndarray):
    share = np.where(np.arange(30) % 5 == 0, 1.0, 1.2)[:, None]
    assert remarks([steady], steady / share, on_cpu=False) == ()


def test_too_coarse_a_processor_clock_shows_no_contention(steady: np.ndarray):
    assert contention(steady, np.zeros_like(steady)) == 0.0
