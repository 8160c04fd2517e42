"""One configuration's models as columns: the data of its chart and table, on the page and in the report.

The results are plain data, with None for everything that was not measured. Text is not escaped: the
code that displays it must escape it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import pandas as pd

from frm_mlflow.analysis.arrays import Floats, Mask
from frm_mlflow.analysis.frm import FRM_E_COMPONENTS
from frm_mlflow.analysis.matrix import ResultMatrix, matrix_from_rows
from frm_mlflow.analysis.pareto import frontier
from frm_mlflow.analysis.ranks import ranks
from frm_mlflow.report.figures import FAMILY_SYMBOLS, colour
from frm_mlflow.schema import (
    ENERGY,
    FRM,
    FRM_E,
    FRM_HIGH,
    FRM_LOW,
    GMACS,
    LATENCY_P50,
    LATENCY_P50_HIGH,
    LATENCY_P50_LOW,
    MEMORY_PEAK,
    PARAMS_M,
    PROTOCOL,
    REMARKS,
    SOURCE,
    UNSTABLE,
)

Json: TypeAlias = dict[str, Any]

METRIC_NAMES: dict[str, str] = {
    FRM.column: "FRM",
    LATENCY_P50.column: "Latency (ms)",
    MEMORY_PEAK.column: "Peak memory (MiB)",
    GMACS.column: "FLOPs (GMACs)",
    PARAMS_M.column: "Parameters (millions)",
    ENERGY.column: "Energy per inference (mJ)",
    FRM_E.column: "FRM with energy",
}
"""Costs that can be plotted against accuracy, with their display names."""
STYLES: dict[str, dict[str, str]] = {
    family: {"colour": colour(index), "symbol": symbol} for index, (family, symbol) in enumerate(FAMILY_SYMBOLS.items())
}
"""Colour and symbol of each family."""


FRM_IN_WORDS = "FRM: geometric mean of the FLOPs, latency and memory ratios to the baseline; lower is cheaper."
MANY_UNSTABLE = 0.25
"""Minimum share of a configuration's rows with a flagged ratio for which a warning is shown above them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CommonBaseline:
    """The baseline in a device's widest precision, and the factor that makes FRM relative to it."""

    factor: float
    name: str


def board(rows: pd.DataFrame, *, baseline: str, metric: str, common: CommonBaseline | None = None) -> Json:
    """Return the models of one configuration, sorted by name, and a sentence on their frontier.

    `rows` are usable benchmarks of one configuration (`report.snapshot`). `metric` is a key of
    `METRIC_NAMES`: the cost used for ranks and the frontier. `low` and `high` are the ends of the
    cost's 95 % interval, if the measurement has one. With `common`, `frm_common` is FRM relative to it.
    `warning` is a sentence if many rows are flagged as unstable, else "".
    """
    matrix = matrix_from_rows(rows, baseline=baseline)
    costs = {name: values[0] for name, values in all_costs(matrix).items()}
    low, high = _interval(matrix, rows, metric)
    best = frontier(costs[metric], matrix.top1[0])
    columns = {
        "model": list(matrix.models),
        "family": [family if family in STYLES else "other" for family in matrix.families],
        "top1": numbers(matrix.top1[0]),
        **{name: numbers(values) for name, values in costs.items()},
        "low": numbers(low),
        "high": numbers(high),
        "rank": numbers(ranks(costs[metric])),
        **_slope_ranks(costs),
        "frontier": best.tolist(),
        "unstable": rows[UNSTABLE.column].tolist(),
        "remarks": rows[REMARKS.column].tolist(),
        "protocol": rows[PROTOCOL.column].tolist(),
        "source": rows[SOURCE.column].tolist(),
        "run_id": rows["run_id"].tolist(),
        "experiment_id": rows["experiment_id"].tolist(),
    }
    if common:
        columns["frm_common"] = numbers(costs[FRM.column] * common.factor)
    return {
        "columns": columns,
        "summary": _summary(matrix, costs[metric], best, metric, baseline),
        "warning": unstable_warning(columns["unstable"]),
        "common_baseline": common.name if common else "",
    }


def unstable_warning(reasons: Sequence[str]) -> str:
    """Return a sentence on rows with an uncertain ratio to the baseline; "" if they are less than a quarter.

    >>> unstable_warning(["", "drift", "drift"])[:53]
    '2 of 3 rows are flagged as unstable (frm.unstable): t'
    """
    flagged = sum(bool(reason) for reason in reasons)
    if not flagged or flagged < MANY_UNSTABLE * len(reasons):
        return ""
    are = "row is" if len(reasons) == 1 else "rows are"
    return (
        f"{flagged} of {len(reasons)} {are} flagged as unstable (frm.unstable): their FRM is uncertain. "
        "Stop other work on the device and measure them again with `frm-mlflow bench measure=rigorous`."
    )


def pick_sentence(label: str, shown: Json, baseline: str) -> str:
    """Return the recommended model on a configuration: the cheapest that is at least as accurate as the baseline.

    If the baseline's accuracy is unknown, it is the most accurate model on the frontier. `shown` is a `board` by FRM.
    The result is "" if its frontier is empty.
    """
    columns = shown["columns"]
    best = [at for at, on in enumerate(columns["frontier"]) if on]
    if not best:
        return ""
    frm, top1 = columns["frm"], columns["top1"]
    least_top1 = dict(zip(columns["model"], top1, strict=True)).get(baseline)
    enough = [] if least_top1 is None else [i for i in best if top1[i] >= least_top1]
    if enough:
        at = min(enough, key=lambda i: frm[i])
        why = f"the cheapest model that is at least as accurate as {baseline} ({least_top1:.1f} %)"
    else:
        at, why = max(best, key=lambda i: top1[i]), "the most accurate model on the frontier"
    latency = columns["latency_ms"][at]
    shown_latency = "no latency" if latency is None else f"{latency:.3g} ms"
    flagged = ", flagged as unstable" if columns["unstable"][at] else ""
    facts = f"FRM {frm[at]:.3g}, {shown_latency}, top-1 {top1[at]:.1f} %{flagged}"
    return f"{label}: {columns['model'][at]} is {why}: {facts}."


def all_costs(matrix: ResultMatrix) -> dict[str, Floats]:
    """Return every cost of `METRIC_NAMES` as a (configurations, models) matrix."""
    return {
        FRM.column: matrix.frm(),
        LATENCY_P50.column: matrix.latency_ms,
        MEMORY_PEAK.column: matrix.memory_mib,
        GMACS.column: matrix.gmacs,
        PARAMS_M.column: matrix.params_m,
        ENERGY.column: matrix.energy_mj,
        FRM_E.column: matrix.frm(components=FRM_E_COMPONENTS),
    }


def number(value: float) -> float | None:
    """Return a number rounded to six digits, or None if it is unknown, because JSON has no NaN."""
    return float(f"{value:.6g}") if np.isfinite(value) else None


def numbers(values: Floats) -> list[float | None]:
    """Return `number` of each value."""
    return [number(value) for value in values.tolist()]


def count(number: int, noun: str) -> str:
    """Return a number with its noun.

    >>> count(1, "model"), count(2, "model")
    ('1 model', '2 models')
    """
    return f"{number} {noun}{'' if number == 1 else 's'}"


def analysed(matrix: ResultMatrix) -> str:
    """Return what the analyses use, in words: benchmarks of models on configurations, devices and chips."""
    measured = matrix.measured
    used = measured.any(axis=1)
    return (
        f"{count(int(measured.sum()), 'benchmark')} of {count(int(measured.any(axis=0).sum()), 'model')} on "
        f"{count(int(used.sum()), 'configuration')}, {count(len(set(matrix.devices[used])), 'device')} and "
        f"{count(len(set(matrix.chips[used])), 'chip')}"
    )


def _slope_ranks(costs: dict[str, Floats]) -> dict[str, list[float | None]]:
    """Return the ranks by FLOPs, FRM and latency among the models that have all three."""
    names = (GMACS.column, FRM.column, LATENCY_P50.column)
    comparable = np.isfinite([costs[name] for name in names]).all(axis=0)
    return {f"rank_{name}": numbers(ranks(np.where(comparable, costs[name], np.nan))) for name in names}


def _interval(matrix: ResultMatrix, rows: pd.DataFrame, metric: str) -> tuple[Floats, Floats]:
    """Return the ends of the measured 95 % interval, for latency and for FRM."""
    nothing = np.full(len(rows), np.nan)
    if metric == LATENCY_P50.column:
        return _column(rows, LATENCY_P50_LOW.column), _column(rows, LATENCY_P50_HIGH.column)
    if metric != FRM.column:
        return nothing, nothing
    interleaved = np.isfinite(matrix.recorded_ratios["latency"][0])
    low, high = (np.where(interleaved, _column(rows, end.column), np.nan) for end in (FRM_LOW, FRM_HIGH))
    return low, high


def _summary(matrix: ResultMatrix, cost: Floats, best: Mask, metric: str, baseline: str) -> str:
    total, placed = len(matrix.models), np.isfinite(cost) & np.isfinite(matrix.top1[0])
    name = METRIC_NAMES[metric]
    if not placed.any():
        reason = _why_nothing(matrix, metric, baseline)
        return f"None of {count(total, 'model')} here has both accuracy and {name}{reason}."
    first, last = (np.flatnonzero(best)[order(cost[best])] for order in (np.argmin, np.argmax))
    parts = [f"{int(best.sum())} of {count(int(placed.sum()), 'model')} are on the frontier of accuracy and {name}."]
    if first != last:
        parts.append(f"It runs from {_point(matrix, cost, first)} to {_point(matrix, cost, last)}.")
    else:
        parts.append(f"It is {_point(matrix, cost, first)}.")
    if placed.sum() < total:
        missing = total - int(placed.sum())
        parts.append(f"{count(missing, 'model')} without accuracy or {name} cannot be placed.")
    return " ".join(parts)


def _why_nothing(matrix: ResultMatrix, metric: str, baseline: str) -> str:
    if metric in (FRM.column, FRM_E.column) and baseline not in matrix.models:
        return f": the baseline {baseline} was not measured here, choose another one"
    return ""


def _point(matrix: ResultMatrix, cost: Floats, index: int) -> str:
    return f"{matrix.models[index]} ({cost[index]:.3g} at {matrix.top1[0][index]:.1f} %)"


def _column(rows: pd.DataFrame, name: str) -> Floats:
    return rows[name].to_numpy(dtype=np.float64)
