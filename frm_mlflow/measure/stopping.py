"""When a benchmark has enough: how many launches, how many runs in each, and when the interval is narrow."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from frm_mlflow.config import MeasureConfig
from frm_mlflow.measure import estimate
from frm_mlflow.measure.estimate import Interval
from frm_mlflow.measure.participant import Participant

CHECK_EVERY = 5
"""Pairs between two looks at the interval, where there is one launch only."""
FEWEST_LAUNCHES = 3
"""Student's factor is 12.7 for two launches: that interval says nothing."""

NOT_YET = Interval(math.nan, math.nan, math.nan)


def affordable_launches(prepare_seconds: float, *, wanted: int, max_seconds: float) -> int:
    """Return how many launches to make when the first took this long to start, load and warm up.

    As many as `wanted`, but no more than what can be prepared within `max_seconds`; one where that
    is fewer than `FEWEST_LAUNCHES`.

    Examples
    --------
    >>> [affordable_launches(s, wanted=5, max_seconds=60) for s in (3, 14, 45)]
    [5, 4, 1]
    """
    affordable = min(wanted, math.floor(max_seconds / max(prepare_seconds, 1e-9)))
    return affordable if affordable >= FEWEST_LAUNCHES else 1


def timed_seconds(prepare_seconds: float, *, launches: int, max_seconds: float) -> float:
    """Return how long each of several launches is timed at least: as long as it took to prepare.

    Shorter where `launches` of both would not fit into `max_seconds`. A launch's few first pairs vary
    more than its start does, and a further launch costs its preparation: so half of the time goes into each.

    Examples
    --------
    >>> [timed_seconds(s, launches=5, max_seconds=60) for s in (2, 8, 12)]
    [2.0, 4.0, 0.0]
    """
    return min(float(prepare_seconds), max(max_seconds / launches - prepare_seconds, 0.0))


@dataclass
class StoppingRule:
    """Says when a launch has been timed enough, and when there are launches enough."""

    config: MeasureConfig
    rng: np.random.Generator
    clock: Callable[[], int]
    launches: int = 0
    """Launches to make at least; 0 until the first one is prepared."""
    enough: bool = False
    """Whether no further launch is needed."""
    interval: Interval = NOT_YET
    """What was looked at last."""
    _deadline_ns: int = 0
    _timed_seconds: float = 0.0
    _timed_until_ns: int = 0

    def begin_launch(self, prepare_seconds: float) -> None:
        """Note that a launch is ready; the first one's seconds plan how many follow, and start `max_seconds`.

        `prepare_seconds` is what every launch takes to start, load and warm up, without what only the first one does.
        """
        now = self.clock()
        if not self.launches:
            limits = {"max_seconds": self.config.max_seconds}
            self.launches = affordable_launches(prepare_seconds, wanted=self.config.launches, **limits)
            self._timed_seconds = timed_seconds(prepare_seconds, launches=self.launches, **limits)
            self._deadline_ns = now + round(self.config.max_seconds * 1e9)
        self._timed_until_ns = now + round(self._timed_seconds * 1e9)

    def ends_launch(self, pair: Sequence[Participant]) -> bool:
        """Whether the launch that runs has done its part, looked at after each turn; sets `enough`.

        With several launches its part is a share of the runs, for `timed_seconds` at least; an only one goes on
        until there is enough.
        """
        model = pair[-1]
        made = len(model.now.blocks)
        if self.launches > 1:
            short = self.clock() < self._timed_until_ns and not self._is_over(model)
            if short or made * model.runs < math.ceil(self.config.runs / self.launches):
                return False
            self.enough = len(model.launches) >= self.launches and self._is_met(pair)
            return True
        if model.samples >= self.config.runs and (self._is_over(model) or made % CHECK_EVERY == 0):
            self.enough = self._is_met(pair)
        return self.enough

    def _is_met(self, pair: Sequence[Participant]) -> bool:
        """Whether the interval is narrow enough, or the time or the runs are used up."""
        self.interval = latency_interval(pair, config=self.config, rng=self.rng)
        return self._is_over(pair[-1]) or self.interval.relative_half_width <= self.config.target_interval

    def _is_over(self, model: Participant) -> bool:
        return model.samples >= self.config.max_runs or self.clock() >= self._deadline_ns


def latency_interval(pair: Sequence[Participant], *, config: MeasureConfig, rng: np.random.Generator) -> Interval:
    """Return the interval that the stopping rule is about: of the ratio, or of the median where there is none."""
    settings: dict[str, Any] = {"confidence": config.confidence, "resamples": config.resamples, "rng": rng}
    model = pair[-1]
    if len(pair) == 1:
        return estimate.median_over_launches(model.by_launch("wall_ns"), **settings)
    medians = ([np.median(blocks, axis=1) for blocks in p.by_launch("wall_ns")] for p in (model, pair[0]))
    return estimate.ratio_over_launches(*medians, **settings)
