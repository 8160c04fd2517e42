"""Synthetic matrices with a known truth: for tests, benchmarks and trying the analyses without a device.

Log latency is the sum of a device's speed, a tier effect and a chip effect for each model, and
noise. With all spreads at zero every ranking is the same everywhere, so the correct results of the
analyses are known in advance.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from frm_mlflow.schema import FRAME_COLUMNS, KIND_BENCHMARK, MACS, RATIO_QUOTIENT

PAPER_MODELS: tuple[tuple[str, float, float, str, float], ...] = (
    # name, parameters in millions, GMACs (paper Table 9), family, published top-1 in percent
    ("convnext_tiny", 28.59, 4.46, "hybrid", 82.5),
    ("deit_tiny", 5.90, 2.60, "transformer", 74.5),
    ("densenet121", 7.98, 2.83, "cnn", 74.4),
    ("efficientnet_b0", 5.29, 0.39, "efficient", 77.7),
    ("inception_v3", 27.16, 5.71, "cnn", 77.3),
    ("levit_128s", 7.80, 0.305, "transformer", 76.5),
    ("mnasnet1_0", 4.38, 0.314, "mobile_cnn", 73.5),
    ("mobilenet_v2", 3.51, 0.301, "mobile_cnn", 71.9),
    ("mobilenet_v3_small", 2.54, 0.057, "mobile_cnn", 67.7),
    ("mobilevit_xxs", 1.30, 0.70, "hybrid", 69.0),
    ("resnet18", 11.69, 1.81, "cnn", 69.8),
    ("resnet50", 25.56, 4.09, "cnn", 76.1),
    ("squeezenet1_1", 1.24, 0.352, "efficient", 58.2),
)
PAPER_TIERS: dict[str, int] = {"gpu": 8, "cpu": 4, "edge": 94}
"""106 devices; the paper names eight GPUs and four CPUs, which leaves 94 for the edge."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SyntheticRecipe:
    """Parameters of a synthetic matrix; spreads are standard deviations of log latency (or log memory)."""

    devices: dict[str, int]
    """Number of devices per tier."""
    n_models: int = 13
    """Number of models: the paper's 13 first, then variations of them."""
    runtimes: tuple[str, ...] = ("onnxruntime",)
    precisions: tuple[str, ...] = ("fp32",)
    devices_per_chip: int = 1
    tier_spread: float = 0.4
    chip_spread: float = 0.2
    noise: float = 0.05
    memory_spread: float = 0.3
    missing: float = 0.0
    """Share of benchmarks that are missing; the baseline is never missing."""


def paper_sized_frame(rng: np.random.Generator) -> pd.DataFrame:
    """Return a synthetic matrix of the paper's size: 13 models on 106 devices, 1,378 benchmarks."""
    return synthetic_frame(SyntheticRecipe(devices=PAPER_TIERS), rng)


def synthetic_frame(recipe: SyntheticRecipe, rng: np.random.Generator) -> pd.DataFrame:
    """Return a tidy frame of a synthetic matrix."""
    models = _models(recipe.n_models, rng)
    size = len(models)
    rows: list[pd.DataFrame] = []
    for tier, count in recipe.devices.items():
        tier_view = rng.normal(0, recipe.tier_spread, size)
        chips = -(-count // recipe.devices_per_chip)
        chip_view = rng.normal(0, recipe.chip_spread, (chips, size))
        speed = rng.normal({"gpu": -1.0, "cpu": 1.0, "edge": 2.0}[tier], 0.5, chips)
        for device in range(count):
            chip = device // recipe.devices_per_chip
            names = {"tier": tier, "device": f"{tier}-{device:03d}", "chip": f"{tier}-chip-{chip:03d}"}
            for runtime in recipe.runtimes:
                for precision in recipe.precisions:
                    log_latency = speed[chip] + tier_view + chip_view[chip] + rng.normal(0, recipe.noise, size)
                    log_memory = rng.normal(0, recipe.memory_spread, size)
                    rows.append(_configuration(models, log_latency, log_memory, names, runtime, precision))
    frame = pd.concat(rows, ignore_index=True)
    kept = (rng.random(len(frame)) >= recipe.missing) | (frame["model"] == "resnet50")
    return frame[kept].reset_index(drop=True).reindex(columns=list(FRAME_COLUMNS))


def _models(count: int, rng: np.random.Generator) -> pd.DataFrame:
    table = pd.DataFrame(PAPER_MODELS, columns=["model", "params_m", "gmacs", "family", "top1"])
    base = table.iloc[np.arange(count) % len(table)].reset_index(drop=True)
    variant = np.arange(count) // len(table)
    scale = np.where(variant > 0, np.exp(rng.normal(0, 0.5, count)), 1.0)
    names = [name if not v else f"{name}_v{v}" for name, v in zip(base["model"], variant, strict=True)]
    moved = base["top1"] + np.where(variant > 0, rng.normal(0, 3, count), 0.0)
    return base.assign(model=names, gmacs=base["gmacs"] * scale, params_m=base["params_m"] * scale, top1=moved)


def _configuration(
    models: pd.DataFrame,
    log_latency: np.ndarray[tuple[int], np.dtype[np.float64]],
    log_memory: np.ndarray[tuple[int], np.dtype[np.float64]],
    names: dict[str, str],
    runtime: str,
    precision: str,
) -> pd.DataFrame:
    """Return one configuration's rows: latency grows with GMACs to the power of 0.8, memory with the parameters."""
    time = pd.Timestamp("2026-01-01", tz="UTC")
    return models.assign(
        latency_ms=10 * models["gmacs"] ** 0.8 * np.exp(log_latency),
        memory_mib=(4 * models["params_m"] + 10) * np.exp(log_memory),
        runtime=runtime,
        runtime_version="1.0",
        precision=precision,
        batch_size="1",
        resolution="native",
        compute_unit="gpu" if names["tier"] == "gpu" else "cpu",
        kind=KIND_BENCHMARK,
        status="FINISHED",
        source="measured",
        baseline="resnet50",
        ratio_source=RATIO_QUOTIENT,
        flops_convention=MACS,
        latency_statistic="p50",
        memory_definition="rss_peak",
        start_time=time,
        end_time=time + pd.Timedelta(seconds=30),
        **names,
    )
