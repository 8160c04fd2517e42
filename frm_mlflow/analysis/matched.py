"""Pairs of configurations that differ along one axis and in nothing else relevant."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd

from frm_mlflow.analysis.arrays import Integers, Words
from frm_mlflow.analysis.rows import KEY_COLUMNS
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
    found = [
        (one, other) if order[levels[one]] <= order[levels[other]] else (other, one)
        for rows in configurations.groupby(fixed, sort=False).indices.values()
        for one, other in combinations(rows, 2)
        if levels[one] != levels[other]
    ]
    a, b = np.array(found, dtype=np.intp).reshape(-1, 2).T
    return MatchedPairs(a=a, b=b, level_a=levels[a], level_b=levels[b])


def level_order(level: str) -> tuple[float, str]:
    """Return a sort key: numbers by value, precisions from wide to narrow, words alphabetically."""
    wide_to_narrow = {"fp32": 0, "tf32": 1, "bf16": 2, "fp16": 3, "w8a16": 4, "int8": 5}
    if level in wide_to_narrow:
        return wide_to_narrow[level], level
    try:
        return float(level), level
    except ValueError:
        return float("inf"), level
