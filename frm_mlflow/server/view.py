"""What the page shows of a snapshot: options to choose from, a configuration's models, a comparison.

Pure functions; the results are plain data that the page receives as JSON, with null where
nothing was measured. Text in them is text: the page escapes it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
import pandas as pd

from frm_mlflow.analysis.arrays import Floats, Mask
from frm_mlflow.analysis.fleet import Fleet, fleet_from_rows
from frm_mlflow.analysis.frm import FRM_E_COMPONENTS, frm
from frm_mlflow.analysis.pareto import frontier
from frm_mlflow.analysis.ranks import ranks, spearman
from frm_mlflow.report.figures import FAMILY_SYMBOLS, colour
from frm_mlflow.schema import (
    ENERGY,
    FAMILY,
    FRM,
    FRM_E,
    GMACS,
    LATENCY_P50,
    LATENCY_P50_HIGH,
    LATENCY_P50_LOW,
    MEMORY_PEAK,
    MODEL,
    PARAMS_M,
    RATIO_LATENCY_HIGH,
    RATIO_LATENCY_LOW,
    SOURCE,
    UNSTABLE,
)
from frm_mlflow.server.choice import FILTERS, METRIC_NAMES, Choice
from frm_mlflow.server.snapshot import Snapshot

Json: TypeAlias = dict[str, Any]

STYLES: dict[str, dict[str, str]] = {
    family: {"colour": colour(index), "symbol": symbol} for index, (family, symbol) in enumerate(FAMILY_SYMBOLS.items())
}
"""Colour and symbol of each family, as in the report's figures."""
MIN_COMMON_MODELS = 3
"""Below this many models in common two rankings are not correlated."""


def overview(snapshot: Snapshot, choice: Choice) -> Json:
    """Return what can be chosen and what is chosen: the filters, the configurations that pass, baselines."""
    table = snapshot.configurations
    passing = table[_passes(table, choice.filters)]
    chosen = choice.configuration if choice.configuration in passing.index else _largest(passing)
    other = choice.other if choice.other in table.index and choice.other != chosen else ""
    return {
        "digest": snapshot.digest,
        "benchmarks": len(snapshot.rows),
        "left_out": [{"reason": item.reason, "rows": item.rows, "detail": item.detail} for item in snapshot.left_out],
        "options": {name: _facet(table, choice.filters, name) for name in FILTERS},
        "configurations": _entries(passing),
        "others": _entries(table.drop(index=chosen)) if chosen else [],
        "metrics": METRIC_NAMES,
        "baselines": _baselines(snapshot, chosen, choice.baseline),
        "choice": {
            **{name: choice.filters.get(name, "") for name in FILTERS},
            "configuration": chosen,
            "other": other,
            "baseline": choice.baseline,
            "metric": choice.metric,
        },
    }


def models(snapshot: Snapshot, choice: Choice, configuration: str) -> Json:
    """Return the models of one configuration as columns, with the frontier of accuracy and the chosen cost."""
    rows = snapshot.benchmarks(configuration)
    fleet = fleet_from_rows(rows, baseline=choice.baseline)
    costs = {name: values[0] for name, values in _costs(fleet).items()}
    low, high = _interval(fleet, rows, choice.metric)
    best = frontier(costs[choice.metric], fleet.top1[0])
    return {
        "label": str(snapshot.configurations.loc[configuration, "label"]),
        "columns": {
            "model": list(fleet.models),
            "family": list(fleet.families),
            "top1": _numbers(fleet.top1[0]),
            **{name: _numbers(values) for name, values in costs.items()},
            "low": _numbers(low),
            "high": _numbers(high),
            "rank": _numbers(ranks(costs[choice.metric])),
            "frontier": best.tolist(),
            "unstable": rows[UNSTABLE.column].tolist(),
            "source": rows[SOURCE.column].tolist(),
            "run_id": rows["run_id"].tolist(),
            "experiment_id": rows["experiment_id"].tolist(),
        },
        "summary": _models_summary(fleet, costs[choice.metric], best, choice),
    }


def comparison(snapshot: Snapshot, choice: Choice, first: str, second: str) -> Json:
    """Return the models that both configurations have, with their ranks and how well the rankings agree."""
    costs = pd.concat([_cost_by_model(snapshot, choice, key) for key in (first, second)], axis="columns", join="inner")
    values = costs.dropna().to_numpy(dtype=np.float64).T
    shared = ranks(values)
    enough = values.shape[1] >= MIN_COMMON_MODELS
    rho = float(spearman(values[:1], values[1:], min_models=MIN_COMMON_MODELS)[0][0, 0]) if enough else float("nan")
    names = costs.dropna().index
    family = snapshot.benchmarks(first).set_index(MODEL.column)[FAMILY.column]
    return {
        "labels": [str(snapshot.configurations.loc[key, "label"]) for key in (first, second)],
        "columns": {
            "model": names.tolist(),
            "family": family.reindex(names).tolist(),
            "first": _numbers(values[0]),
            "second": _numbers(values[1]),
            "rank_first": _numbers(shared[0]),
            "rank_second": _numbers(shared[1]),
        },
        "spearman": _number(rho),
        "summary": _comparison_summary(list(names), shared, rho, choice),
    }


def _cost_by_model(snapshot: Snapshot, choice: Choice, key: str) -> pd.Series:
    fleet = fleet_from_rows(snapshot.benchmarks(key), baseline=choice.baseline)
    return pd.Series(_costs(fleet)[choice.metric][0], index=list(fleet.models), name=key)


def _costs(fleet: Fleet) -> dict[str, Floats]:
    return {
        FRM.column: fleet.frm(),
        LATENCY_P50.column: fleet.latency_ms,
        MEMORY_PEAK.column: fleet.memory_mib,
        GMACS.column: fleet.gmacs,
        PARAMS_M.column: fleet.params_m,
        ENERGY.column: fleet.energy_mj,
        FRM_E.column: fleet.frm(components=FRM_E_COMPONENTS),
    }


def _interval(fleet: Fleet, rows: pd.DataFrame, metric: str) -> tuple[Floats, Floats]:
    """Return the ends of the 95 % interval that the measurements carry: of latency, and of FRM through its ratio."""
    nothing = np.full(len(rows), np.nan)
    if metric == LATENCY_P50.column:
        return _column(rows, LATENCY_P50_LOW.column), _column(rows, LATENCY_P50_HIGH.column)
    if metric != FRM.column:
        return nothing, nothing
    ratios = fleet.ratios()
    interleaved = np.isfinite(fleet.recorded_ratios["latency"][0])
    ends = (_column(rows, end.column) for end in (RATIO_LATENCY_LOW, RATIO_LATENCY_HIGH))
    low, high = (np.where(interleaved, frm(ratios["flops"][0], end, ratios["memory"][0]), np.nan) for end in ends)
    return low, high


def _passes(table: pd.DataFrame, filters: Mapping[str, str]) -> pd.Series:
    passing = pd.Series(True, index=table.index)
    for name, wanted in filters.items():
        passing &= table[name] == wanted
    return passing


def _facet(table: pd.DataFrame, filters: Mapping[str, str], name: str) -> list[Json]:
    """Return the values of one filter that the other filters leave, with the number of configurations of each."""
    others = {key: value for key, value in filters.items() if key != name}
    counts = table.loc[_passes(table, others), name].value_counts()
    values = sorted(counts.index, key=lambda value: (int(value), "") if value.isdigit() else (0, value.casefold()))
    return [{"value": value, "configurations": int(counts[value])} for value in values]


def _largest(table: pd.DataFrame) -> str:
    return str(table["models"].idxmax()) if len(table) else ""


def _entries(table: pd.DataFrame) -> list[Json]:
    ordered = table.sort_values(["models", "label"], ascending=[False, True], kind="stable")
    columns = zip(ordered.index, ordered["label"], ordered["models"], strict=True)
    return [{"key": key, "label": label, "models": int(count)} for key, label, count in columns]


def _baselines(snapshot: Snapshot, configuration: str, chosen: str) -> list[str]:
    measured = set(snapshot.benchmarks(configuration)[MODEL.column]) if configuration else set()
    return sorted(measured | {chosen}, key=str.casefold)


def _models_summary(fleet: Fleet, cost: Floats, best: Mask, choice: Choice) -> str:
    total, known = len(fleet.models), np.isfinite(cost) & np.isfinite(fleet.top1[0])
    metric = METRIC_NAMES[choice.metric]
    if not known.any():
        reason = _why_nothing(fleet, choice)
        return f"None of {_count(total, 'model')} here has both accuracy and {metric}{reason}."
    first, last = (np.flatnonzero(best)[order(cost[best])] for order in (np.argmin, np.argmax))
    parts = [f"{int(best.sum())} of {_count(int(known.sum()), 'model')} are on the frontier of accuracy and {metric}."]
    if first != last:
        parts.append(f"It runs from {_point(fleet, cost, first)} to {_point(fleet, cost, last)}.")
    else:
        parts.append(f"It is {_point(fleet, cost, first)}.")
    if known.sum() < total:
        missing = total - int(known.sum())
        parts.append(f"{_count(missing, 'model')} without accuracy or {metric} cannot be placed.")
    return " ".join(parts)


def _why_nothing(fleet: Fleet, choice: Choice) -> str:
    if choice.metric in (FRM.column, FRM_E.column) and choice.baseline not in fleet.models:
        return f": the baseline {choice.baseline} was not measured here, choose another one"
    return ""


def _point(fleet: Fleet, cost: Floats, index: int) -> str:
    return f"{fleet.models[index]} ({cost[index]:.3g} at {fleet.top1[0][index]:.1f} %)"


def _comparison_summary(names: list[str], shared: Floats, rho: float, choice: Choice) -> str:
    metric = METRIC_NAMES[choice.metric]
    if len(names) < MIN_COMMON_MODELS:
        return f"The two have {_count(len(names), 'model')} with {metric} in common; {MIN_COMMON_MODELS} are needed."
    shift = shared[1] - shared[0]
    most = int(np.argmax(np.abs(shift)))
    agreement = f"Over {len(names)} common models the rankings by {metric} agree with Spearman's rho {rho:.3f}."
    if shift[most] == 0:
        return f"{agreement} No model changes its place."
    way = "falls" if shift[most] > 0 else "rises"
    return f"{agreement} {names[most]} {way} most: from place {shared[0, most]:g} to {shared[1, most]:g}."


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _column(rows: pd.DataFrame, name: str) -> Floats:
    return rows[name].to_numpy(dtype=np.float64)


def _numbers(values: Floats) -> list[float | None]:
    return [_number(value) for value in values.tolist()]


def _number(value: float) -> float | None:
    return float(f"{value:.6g}") if np.isfinite(value) else None
