"""The page's view of a snapshot: options to choose from, a configuration's models, a comparison.

Pure functions. The results are plain data that the page receives as JSON, with null if
nothing was measured. Text in them is not escaped: the page escapes it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
import pandas as pd

from frm_mlflow.analysis.arrays import Floats
from frm_mlflow.analysis.matrix import matrix_from_rows
from frm_mlflow.analysis.ranks import ranks, spearman
from frm_mlflow.analysis.rows import KEY_COLUMNS
from frm_mlflow.near import did_you_mean
from frm_mlflow.report.board import METRIC_NAMES, STYLES, all_costs, board, count, number, numbers
from frm_mlflow.report.snapshot import Snapshot
from frm_mlflow.schema import DEVICE, FAMILY, FRM, MODEL, PRECISION
from frm_mlflow.server.choice import FILTERS, Choice

Json: TypeAlias = dict[str, Any]

MIN_COMMON_MODELS = 3
"""Rankings with fewer models in common than this are not correlated."""


def overview(snapshot: Snapshot, choice: Choice) -> Json:
    """Return what can be selected and what is selected: the filters, the matching configurations, baselines."""
    table = snapshot.configurations
    passing = table[_passes(table, choice.filters)]
    selected = choice.configuration if choice.configuration in passing.index else _largest(passing)
    other = choice.other if choice.other in table.index and choice.other != selected else ""
    return {
        "digest": snapshot.digest,
        "benchmarks": len(snapshot.rows),
        "data": snapshot.counts(),
        "near": _near_devices(table, choice),
        "left_out": [{"reason": item.reason, "rows": item.rows, "detail": item.detail} for item in snapshot.left_out],
        "options": {name: _facet(table, choice.filters, name) for name in FILTERS},
        "configurations": _entries(passing),
        "others": _entries(table.drop(index=selected)) if selected and choice.compares else [],
        "metrics": METRIC_NAMES,
        "styles": STYLES,
        "baselines": _baselines(snapshot, selected, choice.baseline),
        "choice": {
            **{name: choice.filters.get(name, "") for name in FILTERS},
            "configuration": selected,
            "other": other,
            "baseline": choice.baseline,
            "metric": choice.metric,
        },
    }


def models(snapshot: Snapshot, choice: Choice, configuration: str) -> Json:
    """Return the models of one configuration, with the frontier of accuracy and the chosen cost."""
    common = snapshot.common_baselines(choice.baseline).get(configuration)
    shown = board(snapshot.benchmarks(configuration), baseline=choice.baseline, metric=choice.metric, common=common)
    return {"label": str(snapshot.configurations.loc[configuration, "label"]), **shown}


def comparison(snapshot: Snapshot, choice: Choice, first: str, second: str) -> Json:
    """Return the models that both configurations have, with their ranks and how well the rankings agree."""
    costs = pd.concat([_cost_by_model(snapshot, choice, key) for key in (first, second)], axis="columns", join="inner")
    values = costs.dropna().to_numpy(dtype=np.float64).T
    shared = ranks(values)
    enough = values.shape[1] >= MIN_COMMON_MODELS
    rho = float(spearman(values[:1], values[1:], min_models=MIN_COMMON_MODELS)[0][0, 0]) if enough else float("nan")
    names = costs.dropna().index
    common_name, common = _common(snapshot, choice, (first, second), values)
    family = snapshot.benchmarks(first).set_index(MODEL.column)[FAMILY.column]
    return {
        "labels": [str(snapshot.configurations.loc[key, "label"]) for key in (first, second)],
        "columns": {
            "model": names.tolist(),
            "family": family.reindex(names).tolist(),
            "first": numbers(values[0]),
            "second": numbers(values[1]),
            "rank_first": numbers(shared[0]),
            "rank_second": numbers(shared[1]),
            **common,
        },
        "common_baseline": common_name,
        "spearman": number(rho),
        "summary": _comparison_summary(list(names), shared, rho, choice),
    }


def _common(snapshot: Snapshot, choice: Choice, keys: tuple[str, str], frm: Floats) -> tuple[str, Json]:
    """Return the common baseline of two precisions of one device and FRM against it, or nothing if there is none."""
    others = [name for name in KEY_COLUMNS if name != PRECISION.column]
    same = snapshot.configurations.loc[list(keys), others].drop_duplicates().shape[0] == 1
    baselines = snapshot.common_baselines(choice.baseline)
    names = {baselines[key].name for key in keys if key in baselines}
    if choice.metric != FRM.column or not same or len(names) != 1:
        return "", {}
    factors = [baselines[key].factor if key in baselines else 1.0 for key in keys]
    first, second = (numbers(row * factor) for row, factor in zip(frm, factors, strict=True))
    return names.pop(), {"common_first": first, "common_second": second}


def _near_devices(table: pd.DataFrame, choice: Choice) -> str:
    """Return a message about a device without benchmarks; "" if it has some or no device was requested."""
    device, devices = choice.filters.get(DEVICE.column, ""), sorted(set(table[DEVICE.column]))
    if not device or device in devices:
        return ""
    return f"No benchmark of the device '{device}'.{did_you_mean(device, devices)}"


def _cost_by_model(snapshot: Snapshot, choice: Choice, key: str) -> pd.Series:
    matrix = matrix_from_rows(snapshot.benchmarks(key), baseline=choice.baseline)
    return pd.Series(all_costs(matrix)[choice.metric][0], index=list(matrix.models), name=key)


def _passes(table: pd.DataFrame, filters: Mapping[str, str]) -> pd.Series:
    passing = pd.Series(True, index=table.index)
    for name, value in filters.items():
        passing &= table[name] == value
    return passing


def _facet(table: pd.DataFrame, filters: Mapping[str, str], name: str) -> list[Json]:
    """Return the values of one filter that the other filters allow, with the number of configurations for each."""
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


def _baselines(snapshot: Snapshot, configuration: str, selected: str) -> list[str]:
    measured = set(snapshot.benchmarks(configuration)[MODEL.column]) if configuration else set()
    return sorted(measured | {selected}, key=str.casefold)


def _comparison_summary(names: list[str], shared: Floats, rho: float, choice: Choice) -> str:
    metric = METRIC_NAMES[choice.metric]
    if len(names) < MIN_COMMON_MODELS:
        return f"The two have {count(len(names), 'model')} with {metric} in common; {MIN_COMMON_MODELS} are needed."
    shift = shared[1] - shared[0]
    most = int(np.argmax(np.abs(shift)))
    agreement = f"Over {len(names)} common models the rankings by {metric} agree with Spearman's rho {rho:.3f}."
    if shift[most] == 0:
        return f"{agreement} No model changes its place."
    way = "falls" if shift[most] > 0 else "rises"
    return f"{agreement} {names[most]} {way} most: from place {shared[0, most]:g} to {shared[1, most]:g}."
