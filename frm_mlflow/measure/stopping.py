"""The stopping rule: how many launches a benchmark needs, and how many runs in each."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from frm_mlflow.analysis.interval import Interval
from frm_mlflow.config import MeasureConfig
from frm_mlflow.measure import estimate
from frm_mlflow.measure.estimate import Floats
from frm_mlflow.measure.participant import Participant

CHECK_EVERY = 5
"""Pairs between two checks of the interval, if there is only one launch."""
FEWEST_LAUNCHES = 3
"""Student's factor is 12.7 for two launches, so that interval would be meaningless."""

NOT_YET = Interval(math.nan, math.nan, math.nan)
"""Interval before the first check."""


def affordable_launches(prepare_seconds: float, *, n_launches: int, max_seconds: float) -> int:
    """Return how many launches to make when the first took this long to start, load and warm up.

    As many as `wanted`, but no more than can be prepared within `max_seconds`; one if that
    is fewer than `FEWEST_LAUNCHES`.

    Examples
    --------
    >>> [affordable_launches(s, n_launches=5, max_seconds=60) for s in (3, 14, 45)]
    [5, 4, 1]
    """
    affordable = min(n_launches, math.floor(max_seconds / max(prepare_seconds, 1e-9)))
    return affordable if affordable >= FEWEST_LAUNCHES else 1


def timed_seconds(prepare_seconds: float, *, launches: int, max_seconds: float) -> float:
    """Return the minimum time for which each of several launches is timed: as long as it took to prepare.

    Shorter if preparing and timing `launches` launches would exceed `max_seconds`. The first few pairs of a launch vary
    more than launches do, and another launch costs its preparation, so half of the time is spent on each.

    Examples
    --------
    >>> [timed_seconds(s, launches=5, max_seconds=60) for s in (2, 8, 12)]
    [2.0, 4.0, 0.0]
    """
    return min(float(prepare_seconds), max(max_seconds / launches - prepare_seconds, 0.0))


@dataclass
class StoppingRule:
    """Decides when a launch has been timed enough, and when there are enough launches.

    Stein's two stages: the spread of the first `launches` determines the total number. Checking the
    interval after every launch and stopping as soon as it is narrow would stop too often when the spread
    happens to be small, with an interval that is too narrow.
    """

    config: MeasureConfig
    rng: np.random.Generator
    clock: Callable[[], int]
    launches: int = 0
    """Number of launches in the first stage; 0 until the first one is prepared."""
    needed: int = 0
    """Number of launches in both stages; 0 until the first stage is over."""
    enough: bool = False
    """Whether no further launch is needed."""
    interval: Interval = NOT_YET
    """The estimate with its interval at the last check; a single launch has no interval."""
    half_width: float = math.nan
    """Relative half-width compared with the target: of the interval, or of the pairs of a single launch."""
    _deadline_ns: int = 0
    _timed_seconds: float = 0.0
    _timed_until_ns: int = 0

    def begin_launch(self, prepare_seconds: float) -> None:
        """Record that a launch is ready; the first one's duration determines how many follow and starts `max_seconds`.

        `prepare_seconds` is how long any launch takes to start, load and warm up, without work done only in the first.
        """
        now = self.clock()
        if not self.launches:
            limits = {"max_seconds": self.config.max_seconds}
            self.launches = affordable_launches(prepare_seconds, n_launches=self.config.launches, **limits)
            self._timed_seconds = timed_seconds(prepare_seconds, launches=self.launches, **limits)
            self._deadline_ns = now + round(self.config.max_seconds * 1e9)
        self._timed_until_ns = now + round(self._timed_seconds * 1e9)

    def ends_launch(self, pair: Sequence[Participant]) -> bool:
        """Return whether the current launch has done its part; checked after each turn, sets `enough`.

        With several launches its part is a share of the runs, for at least `timed_seconds`. A single launch continues
        until there are enough runs.
        """
        model = pair[-1]
        made = len(model.now.blocks)
        if self.launches > 1:
            short = self.clock() < self._timed_until_ns and not self._is_over(model)
            if short or made * model.runs < math.ceil(self.config.runs / self.launches):
                return False
            self.enough = len(model.launches) >= self.launches and self._are_launches_enough(pair)
            return True
        if model.samples >= self.config.runs and (self._is_over(model) or made % CHECK_EVERY == 0):
            self.enough = self._are_pairs_enough(pair)
        return self.enough

    def _are_launches_enough(self, pair: Sequence[Participant]) -> bool:
        """Plan the second stage after the first; return whether it is complete, or the time or the runs are used up."""
        config = self.config
        if not self.needed:
            figures = _of_each_launch(pair)
            self.needed = estimate.needed_launches(figures, confidence=config.confidence, target=config.target_interval)
        self.interval = latency_interval(pair, confidence=config.confidence, first=self.launches)
        self.half_width = self.interval.relative_half_width
        return len(pair[-1].launches) >= self.needed or self._is_over(pair[-1])

    def _are_pairs_enough(self, pair: Sequence[Participant]) -> bool:
        """Return whether the pairs of the only launch agree, or the time or the runs are used up."""
        self.interval = latency_interval(pair, confidence=self.config.confidence)
        self.half_width = _within_launch(pair, self.config, self.rng).relative_half_width
        return self.half_width <= self.config.target_interval or self._is_over(pair[-1])

    def _is_over(self, model: Participant) -> bool:
        return model.samples >= self.config.max_runs or self.clock() >= self._deadline_ns


def latency_interval(pair: Sequence[Participant], *, confidence: float, first: int | None = None) -> Interval:
    """Return the ratio with its interval over launches, or without a baseline the median with its interval."""
    if len(pair) == 1:
        return estimate.median_over_launches(pair[0].by_launch("wall_ns"), confidence=confidence, first=first)
    return estimate.ratio_over_launches(*_block_medians(pair), confidence=confidence, first=first)


def _of_each_launch(pair: Sequence[Participant]) -> Floats:
    """Return each launch's ratio, or without a baseline its median."""
    if len(pair) == 1:
        return np.array([np.median(runs) for runs in pair[0].by_launch("wall_ns")])
    return estimate.launch_ratios(*_block_medians(pair))


def _within_launch(pair: Sequence[Participant], config: MeasureConfig, rng: np.random.Generator) -> Interval:
    settings: dict[str, Any] = {"confidence": config.confidence, "resamples": config.resamples, "rng": rng}
    if len(pair) == 1:
        return estimate.median_interval(pair[0].times("wall_ns"), **settings)
    model, baseline = (participant.block_medians() for participant in (pair[-1], pair[0]))
    return estimate.ratio_interval(model, baseline, **settings)


def _block_medians(pair: Sequence[Participant]) -> tuple[list[Floats], list[Floats]]:
    """Return the medians of each launch's blocks, the model's and the baseline's."""
    model, baseline = ([np.median(blocks, axis=1) for blocks in p.by_launch("wall_ns")] for p in (pair[-1], pair[0]))
    return model, baseline
