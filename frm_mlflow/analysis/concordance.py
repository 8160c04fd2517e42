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
from frm_mlflow.analysis.matrix import ResultMatrix
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
    matrix: ResultMatrix, values: dict[str, Floats], options: AnalysisOptions, rng: np.random.Generator
) -> pd.DataFrame:
    """Return the share of right decisions by source side, target side, predictor and band; ties count half."""
    rows: list[dict[str, object]] = []
    for source, target in permutations(matrix.side_names, 2):
        source_rows, target_rows = matrix.sides == source, np.flatnonzero(matrix.sides == target)
        latency = np.log(values[LATENCY][target_rows])
        for name in PREDICTORS:
            ranking = mean_percent_ranks(values[name][source_rows])
            right, counts = _shares(ranking, latency)
            intervals = mean_intervals(right, matrix.clusters[target_rows], rng=rng, bounds=SHARE, **options.bootstrap)
            rows += [
                {"source": source, "target": target, "predictor": name, "band": band, "right": interval.value}
                | {**interval_cells(interval), "decisions": int(counts[:, place].sum())}
                for place, ((band, _), interval) in enumerate(zip(BANDS, intervals, strict=True))
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
        finite = np.isfinite(agreement)
        band = np.searchsorted(edges, np.abs(np.where(finite, difference, 0.0)), side="left")
        for place in range(len(BANDS)):
            inside = finite & (band == place)
            counts[block, place] = inside.sum(axis=1)
            right[block, place] = np.where(inside, agreement, 0.0).sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return right / counts, counts
