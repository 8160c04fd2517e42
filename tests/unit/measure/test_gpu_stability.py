from __future__ import annotations

import pytest

from frm_mlflow.measure.gpu_stability import gpu_instabilities

STEADY = {"gpu_sm_clock_mhz": 1410.0, "gpu_throttle_reasons": 0.0, "gpu_processes": 2.0}


@pytest.mark.parametrize(
    ("change", "reasons"),
    [
        ({}, ()),
        ({"gpu_throttle_reasons": float(0x1 | 0x2)}, ()),
        ({"gpu_throttle_reasons": float(0x4)}, ("throttled by power cap in 50% of readings",)),
        ({"gpu_throttle_reasons": float(0x20)}, ("throttled by software thermal slowdown in 50% of readings",)),
        ({"gpu_sm_clock_mhz": 1390.0}, ()),
        ({"gpu_sm_clock_mhz": 1110.0}, ("GPU clock 1110 to 1410 MHz",)),
        ({"gpu_processes": 3.0}, ("other processes on the GPU: 1",)),
    ],
)
def test_a_gpu_that_is_not_steady_is_flagged(change, reasons):
    assert gpu_instabilities([STEADY, STEADY | change] * 10, workers=2) == reasons


def test_what_is_not_reported_is_no_reason():
    assert gpu_instabilities([], workers=2) == ()
    assert gpu_instabilities([{"gpu_temperature_c": 60.0}], workers=2) == ()


def test_one_throttled_reading_of_many_is_no_reason():
    assert gpu_instabilities([STEADY] * 30 + [STEADY | {"gpu_throttle_reasons": 4.0}], workers=2) == ()
