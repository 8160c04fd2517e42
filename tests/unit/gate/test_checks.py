from __future__ import annotations

import math

import pytest

from frm_mlflow.analysis.frm import frm_interval
from frm_mlflow.analysis.interval import Interval, quotient, unbounded
from frm_mlflow.gate.checks import Check, Verdict, overall

LIMIT = 1.05


def check(low: float, high: float) -> Check:
    return Check(name="latency", limit=LIMIT, found=Interval((low + high) / 2, low, high))


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (0.90, 1.04, Verdict.PASS),
        (1.00, 1.05, Verdict.PASS),  # the limit itself is allowed
        (1.04, 1.06, Verdict.UNDECIDED),
        (1.05, 1.06, Verdict.UNDECIDED),  # the true value may be the limit
        (1.051, 1.2, Verdict.FAIL),
    ],
)
def test_the_whole_interval_decides_and_not_its_middle(low: float, high: float, verdict: Verdict) -> None:
    assert check(low, high).verdict is verdict


def test_a_missing_figure_is_undecided() -> None:
    missing = Check(name="FRM", limit=0.5, found=None, why_missing="FLOPs could not be counted")
    assert missing.verdict is Verdict.UNDECIDED
    assert "FLOPs could not be counted" in missing.sentence


def test_one_failure_outweighs_what_is_open_and_what_passes() -> None:
    passing, open_, failing = check(0.9, 1.0), check(1.0, 1.1), check(1.1, 1.2)
    assert overall([passing, open_, failing]) is Verdict.FAIL
    assert overall([passing, open_]) is Verdict.UNDECIDED
    assert overall([passing]) is Verdict.PASS


def test_frm_has_the_cube_root_of_the_latency_ratios_interval() -> None:
    # Paper, section 2.1: the geometric mean of the three ratios; 1 x 8 x 1 has the mean 2.
    found = frm_interval(Interval(8.0, 1.0, 27.0), flops_ratio=1.0, memory_ratio=Interval(1.0, 1.0, 1.0))
    assert (found.value, found.low, found.high) == pytest.approx((2.0, 1.0, 3.0))


def test_memory_widens_frms_interval_as_much_as_latency_does() -> None:
    """Independent errors of 3 % and 4 % combine to 5 % (on a logarithmic scale), and FRM has a third of that."""
    three, four = (Interval(1.0, math.exp(-error), math.exp(error)) for error in (0.03, 0.04))
    for latency, memory in ((three, four), (four, three)):
        found = frm_interval(latency, flops_ratio=1.0, memory_ratio=memory)
        assert (math.log(found.low), math.log(found.high)) == pytest.approx((-0.05 / 3, 0.05 / 3))


def test_a_figure_of_one_launch_decides_nothing() -> None:
    for value in (0.1, 10.0):
        check = Check(name="latency", limit=1.0, found=unbounded(value), unit="ms")
        assert check.verdict is Verdict.UNDECIDED
        assert "no interval" in check.sentence
    frm = frm_interval(unbounded(0.5), flops_ratio=0.5, memory_ratio=Interval(0.5, 0.4, 0.6))
    assert (frm.low, frm.high) == (0.0, math.inf)
    assert quotient(Interval(1, 0.9, 1.1), unbounded(1.0)).high == math.inf


def test_a_quotient_covers_every_ratio_of_two_intervals() -> None:
    found = quotient(Interval(10, 9, 12), Interval(5, 4, 6))
    assert (found.value, found.low, found.high) == pytest.approx((2.0, 9 / 6, 12 / 4))
