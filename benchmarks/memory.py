"""Measure the peak memory of one model on every runtime, five times, and of networks with known activations.

    python -m benchmarks.memory            # prints the tables
    python -m benchmarks.memory --check    # also exits with 1 if a target is missed
    python -m benchmarks.memory --model mobilenet_v3_small --runtimes onnxruntime,litert

1. The peak of one model in a full benchmark of one launch, five times for each runtime. Target: a
   coefficient of variation of at most 3 %.
2. A family of networks with hardly any weights and activations of 4, 16 and 64 MiB. Target: each peak is
   above the previous one by at least half of the growth of the activations.
"""

from __future__ import annotations

import argparse
import os
import sys

import numpy as np
from torch import Tensor, nn

from benchmarks.results import add_option, recorded
from frm_mlflow import schema
from frm_mlflow.config import MeasureConfig, ModelConfig, RuntimeConfig
from frm_mlflow.devices import Device
from frm_mlflow.errors import FrmError
from frm_mlflow.export import ExportCache, export
from frm_mlflow.measure import benchmark
from frm_mlflow.worker.runtimes import RUNTIMES

LARGEST_CV = 0.03
LEAST_SHARE = 0.5
SIDE = 256
ACTIVATIONS_MIB = (4, 16, 64)
CPU = Device("cpu", "cpu", "cpu", "", "cpu")
SHORT = MeasureConfig(
    runs=10, max_runs=10, launches=1, warm_up_runs=3, warm_up_seconds=0.1, energy_seconds=0.0, resamples=100
)


class Wide(nn.Module):
    """A convolution to `channels` maps and one back, with `channels` x SIDE x SIDE floats between them."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.widen = nn.Conv2d(3, channels, 3, padding=1)
        self.narrow = nn.Conv2d(channels, 4, 1)
        self.head = nn.Linear(4, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Return ten scores per image."""
        x = self.narrow(self.widen(x).relu())
        scores: Tensor = self.head(x.mean((2, 3)))
        return scores


def wide(channels: int) -> Wide:
    """Return the network of the family with this many channels."""
    return Wide(channels)


def peak_mib(model: ModelConfig, runtime: str, cache: ExportCache) -> float:
    """Return the peak of one benchmark in a fresh process."""
    found = benchmark(
        exported_model=export(model, runtime=runtime, cache=cache),
        baseline=None,
        device=CPU,
        runtime=RuntimeConfig(runtime, threads=1),
        config=SHORT,
        rng=np.random.default_rng(0),
    )
    return found.metrics[schema.MEMORY_PEAK.key]


def coefficient_of_variation(peaks: list[float]) -> float:
    """Return the standard deviation divided by the mean."""
    return float(np.std(peaks, ddof=1) / np.mean(peaks))


def repeated(model: str, runtime: str, repeats: int, cache: ExportCache) -> list[str]:
    """Print the peaks of `model` and return the missed targets."""
    peaks = [peak_mib(ModelConfig(model), runtime, cache) for _ in range(repeats)]
    cv = coefficient_of_variation(peaks)
    print(f"{runtime:14} {np.median(peaks):8.1f} {min(peaks):8.1f} {max(peaks):8.1f} {cv:7.2%}", flush=True)
    return [f"{runtime}: {model} varies by {cv:.1%}"] if cv > LARGEST_CV else []


def ordered(runtime: str, cache: ExportCache) -> list[str]:
    """Print the peaks of the family and return the missed targets."""
    channels = [mib * 2**20 // (4 * SIDE * SIDE) for mib in ACTIVATIONS_MIB]
    family = [
        ModelConfig(
            f"wide_{n}", source="target", target="benchmarks.memory:wide", kwargs={"channels": n}, input_size=SIDE
        )
        for n in channels
    ]
    peaks = [peak_mib(model, runtime, cache) for model in family]
    print(f"{runtime:14} " + " ".join(f"{peak:8.1f}" for peak in peaks), flush=True)
    enough = LEAST_SHARE * np.diff(ACTIVATIONS_MIB)
    return [] if np.all(np.diff(peaks) >= enough) else [f"{runtime}: peaks {peaks} for {ACTIVATIONS_MIB} MiB"]


def main() -> int:
    """Measure and print, and check the targets if requested."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", default="mobilenet_v3_small")
    parser.add_argument("--runtimes", default=",".join(RUNTIMES))
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--check", action="store_true")
    add_option(parser)
    options = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    cache, names, missed = ExportCache(), options.runtimes.split(","), []

    print(f"{options.model:14} {'median':>8} {'lowest':>8} {'highest':>8} {'CV':>7}   MiB")
    for runtime in names:
        missed += repeated(options.model, runtime, options.repeats, cache)
    print(f"{'activations':14} " + " ".join(f"{mib:8d}" for mib in ACTIVATIONS_MIB) + "   MiB")
    for runtime in names:
        try:
            missed += ordered(runtime, cache)
        except FrmError as error:
            missed.append(f"{runtime}: {error}")
    for miss in missed:
        print(f"missed: {miss}")
    return 1 if options.check and missed else 0


if __name__ == "__main__":
    sys.exit(recorded(main, __file__))
