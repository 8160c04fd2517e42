"""Pairs of configurations that differ along one axis and in nothing else relevant."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd

from frm_mlflow.analysis.arrays import Floats, Integers, Words
from frm_mlflow.analysis.bootstrap import CORRELATION, ChipInterval, mean_intervals
from frm_mlflow.analysis.matrix import ResultMatrix
from frm_mlflow.analysis.options import AnalysisOptions
from frm_mlflow.analysis.ranks import row_spearman
from frm_mlflow.analysis.rows import KEY_COLUMNS, level_order
from frm_mlflow.schema import LATENCY_STATISTIC, MEMORY_DEFINITION, PRECISION, RUNTIME, RUNTIME_VERSION

_FOLLOWS: dict[str, tuple[str, ...]] = {
    RUNTIME.column: (RUNTIME_VERSION.column, MEMORY_DEFINITION.column, LATENCY_STATISTIC.column),
    PRECISION.column: (MEMORY_DEFINITION.column,),
}
"""Columns that necessarily change with an axis: for example, another runtime has another version."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MatchedPairs:
    """Positions of matched configurations; `level_a` sorts before `level_b`."""

    a: Integers
    b: Integers
    level_a: Words
    level_b: Words


def matched_pairs(configurations: pd.DataFrame, axis: str) -> MatchedPairs:
    """Return all pairs of configurations that agree in everything except `axis` and the columns that depend on it."""
    loose = {axis, *_FOLLOWS.get(axis, ())}
    fixed = [name for name in KEY_COLUMNS if name not in loose]
    levels = configurations[axis].to_numpy(dtype=object)
    order = {level: place for place, level in enumerate(sorted(set(levels), key=level_order))}
    pairs = [
        (one, other) if order[levels[one]] <= order[levels[other]] else (other, one)
        for rows in configurations.groupby(fixed, sort=False).indices.values()
        for one, other in combinations(rows, 2)
        if levels[one] != levels[other]
    ]
    a, b = np.array(pairs, dtype=np.intp).reshape(-1, 2).T
    return MatchedPairs(a=a, b=b, level_a=levels[a], level_b=levels[b])


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LevelPair:
    """Rank correlations between two levels of an axis, on P matched pairs of configurations.

    `a` and `b` are the configurations (P,), `rho` (P, V) the correlations of V metrics, NaN with too few common
    models. `intervals` has the mean of each metric over the pairs, with its interval over chips.
    """

    level: str
    other: str
    a: Integers
    b: Integers
    rho: Floats
    intervals: list[ChipInterval]


def level_pairs(
    matrix: ResultMatrix,
    axis: str,
    values: Mapping[str, Floats],
    options: AnalysisOptions,
    rng: np.random.Generator,
) -> Iterator[LevelPair]:
    """Yield the rank correlations of each metric in `values` (C, M) between every two levels of `axis`."""
    matched = matched_pairs(matrix.configurations, axis)
    levels = pd.MultiIndex.from_arrays([matched.level_a, matched.level_b])
    for level, other in levels.unique():
        same = np.flatnonzero(levels == (level, other))
        a, b = matched.a[same], matched.b[same]
        rho = np.column_stack([row_spearman(v[a], v[b], min_models=options.min_models) for v in values.values()])
        intervals = mean_intervals(rho, matrix.clusters[a], rng=rng, bounds=CORRELATION, **options.bootstrap)
        yield LevelPair(level=level, other=other, a=a, b=b, rho=rho, intervals=intervals)
