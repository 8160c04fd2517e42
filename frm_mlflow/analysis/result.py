"""Return type of every analysis: tables, and sentences that describe what they show."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import pandas as pd

from frm_mlflow.analysis.bootstrap import ChipInterval
from frm_mlflow.analysis.options import AnalysisOptions
from frm_mlflow.analysis.selection import Selection


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Result:
    """Tables by name and a summary in sentences; the first is the finding, or a note on substituted tiers and chips."""

    tables: Mapping[str, pd.DataFrame]
    sentences: tuple[str, ...]


Compute: TypeAlias = Callable[[Selection, AnalysisOptions, np.random.Generator], Result]


@dataclass(frozen=True, slots=True, kw_only=True)
class Analysis:
    """One analysis: its name on the command line, its question, its section in the paper, and its computation.

    `compute` raises `DataError` if the data is insufficient (too few models, nothing to compare). The
    message is then reported in place of a number.
    """

    name: str
    question: str
    paper: str
    compute: Compute
    compares_sides: bool = False
    """Whether it transfers results between tiers or chips, or their substitutes."""


def interval_cells(interval: ChipInterval) -> dict[str, object]:
    """Return an interval as the cells `low`, `high` and `chips` of a table row."""
    return {"low": interval.low, "high": interval.high, "chips": interval.n_clusters}


def spread_cells(repeats: np.ndarray[tuple[int], np.dtype[np.float64]], confidence: float) -> dict[str, float]:
    """Return the mean and central interval of a repeated control as the cells `mean`, `low` and `high`."""
    finite = repeats[np.isfinite(repeats)]
    if not finite.size:
        return {"mean": float("nan"), "low": float("nan"), "high": float("nan")}
    low, high = np.quantile(finite, [(1 - confidence) / 2, (1 + confidence) / 2])
    return {"mean": float(finite.mean()), "low": float(low), "high": float(high)}


def keyed(table: pd.DataFrame, keys: Sequence[str], value: str) -> dict[tuple[str, ...], float]:
    """Return one column of a table as numbers, keyed by the text in its `keys` columns."""
    words = table[list(keys)].astype(str).itertuples(index=False, name=None)
    return dict(zip(words, table[value].astype(float), strict=True))


def with_ends(table: pd.DataFrame, place: int, value: str) -> str:
    """Return a number from a table row with its interval, as text."""
    number, low, high = (float(table[name].iloc[place]) for name in (value, "low", "high"))
    if not np.isfinite(number):
        return NOT_AVAILABLE
    ends = f"{low:.3f} to {high:.3f}" if np.isfinite(low) else "too few chips for an interval"
    return f"{number:.3f} ({ends})"


NOT_AVAILABLE = "not available"
"""How a sentence names a number that the data does not have."""


def figure(value: float) -> str:
    """Return a number with three decimals, or `not available`."""
    return f"{value:.3f}" if np.isfinite(value) else NOT_AVAILABLE


def percent(share: float) -> str:
    """Return a share as a percentage with one decimal, or `not available`."""
    return f"{100 * share:.1f} %" if np.isfinite(share) else NOT_AVAILABLE


def count(number: int, noun: str) -> str:
    """Return a number with its noun, in the plural if it is not 1: `1 pair`, `30 pairs`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
