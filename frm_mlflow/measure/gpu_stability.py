"""Reasons to treat a GPU's results with caution, from its readings during the timed blocks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from frm_mlflow.worker.accelerator import throttle_reasons

LARGEST_CLOCK_SPREAD = 0.05
"""Maximum fraction by which the lowest clock may be below the highest, over all readings."""
LARGEST_THROTTLED_SHARE = 0.05
"""Maximum share of readings that may show throttling."""


def gpu_instabilities(readings: Sequence[Mapping[str, float]], *, workers: int) -> tuple[str, ...]:
    """Return the reasons, each with its value, why the GPU was not in a steady state or not used exclusively by us.

    Parameters
    ----------
    readings
        From `worker.accelerator.gpu_conditions`; values that NVML did not report are absent and give no reason.
    workers
        Number of the benchmark's own processes on the GPU.
    """
    reasons = [f"throttled by {name} in {share:.0%} of readings" for name, share in _throttled(readings)]
    clocks = [reading["gpu_sm_clock_mhz"] for reading in readings if reading.get("gpu_sm_clock_mhz")]
    if clocks and min(clocks) < (1 - LARGEST_CLOCK_SPREAD) * max(clocks):
        reasons.append(f"GPU clock {min(clocks):.0f} to {max(clocks):.0f} MHz")
    others = max((reading.get("gpu_processes", 0.0) for reading in readings), default=0.0) - workers
    if others > 0:
        reasons.append(f"other processes on the GPU: {others:.0f}")
    return tuple(reasons)


def _throttled(readings: Sequence[Mapping[str, float]]) -> list[tuple[str, float]]:
    """Return each throttling reason with its share of the readings, if it is more than a few per cent."""
    masks = [int(reading["gpu_throttle_reasons"]) for reading in readings if "gpu_throttle_reasons" in reading]
    names = sorted({name for mask in masks for name in throttle_reasons(mask)})
    shares = [(name, sum(name in throttle_reasons(mask) for mask in masks) / len(masks)) for name in names]
    return [(name, share) for name, share in shares if share > LARGEST_THROTTLED_SHARE]
