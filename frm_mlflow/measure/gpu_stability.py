"""Why a GPU's figures should be read with care, by its readings during the timed blocks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from frm_mlflow.worker.accelerator import throttle_reasons

LARGEST_CLOCK_SPREAD = 0.05
"""How far the lowest clock may be below the highest, over all readings."""
LARGEST_THROTTLED_SHARE = 0.05
"""Share of the readings that may show a reason for lower clocks."""


def gpu_instabilities(readings: Sequence[Mapping[str, float]], *, workers: int) -> tuple[str, ...]:
    """Return the reasons, each with its figure, why the GPU was not in one steady state or not ours alone.

    Parameters
    ----------
    readings
        By `worker.accelerator.gpu_conditions`; what NVML did not report is absent and is no reason.
    workers
        The benchmark's own processes on the card.
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
    """Return the reasons for lower clocks with their share of the readings, if it is more than a few per cent."""
    masks = [int(reading["gpu_throttle_reasons"]) for reading in readings if "gpu_throttle_reasons" in reading]
    names = sorted({name for mask in masks for name in throttle_reasons(mask)})
    shares = [(name, sum(name in throttle_reasons(mask) for mask in masks) / len(masks)) for name in names]
    return [(name, share) for name, share in shares if share > LARGEST_THROTTLED_SHARE]
