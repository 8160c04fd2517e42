"""A figure with its confidence interval: the one type that measurements, analyses and gates share."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Interval:
    """A figure with the ends of its confidence interval; both ends are NaN if there is none."""

    value: float
    low: float
    high: float

    @property
    def is_known(self) -> bool:
        """Whether there is an interval, not only an estimate."""
        return not math.isnan(self.low)

    @property
    def relative_half_width(self) -> float:
        """Half of the interval's width divided by the estimate; NaN without an interval."""
        return (self.high - self.low) / 2 / self.value if self.value else math.inf

    def scaled(self, factor: float) -> Interval:
        """Return the interval of a fixed multiple of the figure."""
        return Interval(self.value * factor, self.low * factor, self.high * factor)


def unbounded(value: float) -> Interval:
    """Return the interval of a figure above zero without an interval: the next launch could give any value."""
    return Interval(value, 0.0, math.inf)


def quotient(numerator: Interval, denominator: Interval) -> Interval:
    """Return the ratio of two separately measured figures: every ratio that is compatible with their intervals."""
    return Interval(
        numerator.value / denominator.value,
        numerator.low / denominator.high,
        numerator.high / denominator.low if denominator.low else math.inf,
    )
