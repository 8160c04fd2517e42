"""Decisions between two models: how often the one that looks better here is also faster there.

A rank correlation treats a swap of two nearly equal models like a swap of a fast and a slow one.
Here, pairs of models are grouped by how far apart they are on the target.
"""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pandas as pd

from frm_mlflow.analysis.arrays import Floats
from frm_mlflow.analysis.bootstrap import SHARE, mean_intervals
from frm_mlflow.analysis.controls import LATENCY, PREDICTORS
from frm_mlflow.analysis.fleet import Fleet
from frm_mlflow.analysis.options import AnalysisOptions
from frm_mlflow.analysis.ranks import blocks, mean_percent_ranks
from frm_mlflow.analysis.result import interval_cells

BANDS: tuple[tuple[str, float], ...] = (
    ("within 10 %", 1.10),
    ("10 to 25 %", 1.25),
    ("25 to 50 %", 1.50),
    ("50 % to 2×", 2.0),
    ("2× to 4×", 4.0),
    ("over 4×", np.inf),
)
"""Name and upper end of each band of the latency ratio between the two models on the target."""


def concordance(
    fleet: Fleet, values: dict[str, Floats], options: AnalysisOptions, rng: np.random.Generator
) -> pd.DataFrame:
    """Return the share of right decisions by source side, target side, predictor and band; ties count half."""
    rows: list[dict[str, object]] = []
    for source, target in permutations(fleet.side_names, 2):
        here, there = fleet.sides == source, np.flatnonzero(fleet.sides == target)
        latency = np.log(values[LATENCY][there])
        for name in PREDICTORS:
            ranking = mean_percent_ranks(values[name][here])
            right, counts = _shares(ranking, latency)
            found = mean_intervals(
                right,
                fleet.clusters[there],
                rng=rng,
                resamples=options.resamples,
                confidence=options.confidence,
                bounds=SHARE,
            )
            rows += [
                {"source": source, "target": target, "predictor": name, "band": band, "right": interval.estimate}
                | {**interval_cells(interval), "decisions": int(counts[:, place].sum())}
                for place, ((band, _), interval) in enumerate(zip(BANDS, found, strict=True))
            ]
    return pd.DataFrame(rows)


def _shares(ranking: Floats, latency: Floats) -> tuple[Floats, Floats]:
    """Return the share and the number of right decisions, each (targets, bands)."""
    one, other = np.triu_indices(ranking.size, 1)
    predicted = np.sign(ranking[one] - ranking[other])
    edges = np.log([upper for _, upper in BANDS])
    right, counts = (np.zeros((len(latency), len(BANDS))) for _ in range(2))
    for block in blocks(len(latency), one.size):
        difference = latency[block][:, one] - latency[block][:, other]
        agreement = 0.5 + 0.5 * predicted * np.sign(difference)
        known = np.isfinite(agreement)
        band = np.searchsorted(edges, np.abs(np.where(known, difference, 0.0)), side="left")
        for place in range(len(BANDS)):
            inside = known & (band == place)
            counts[block, place] = inside.sum(axis=1)
            right[block, place] = np.where(inside, agreement, 0.0).sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return right / counts, counts
