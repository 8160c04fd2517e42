"""The leaderboard of each configuration by FRM, and its sensitivity to choices (paper eq. 1-4, 3.3, 3.4)."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from frm_mlflow.analysis.arrays import Floats, Mask, finite_mean
from frm_mlflow.analysis.common_baseline import against_common_baseline
from frm_mlflow.analysis.frm import FRM_COMPONENTS, FRM_E_COMPONENTS, frm_of
from frm_mlflow.analysis.matrix import ResultMatrix
from frm_mlflow.analysis.options import AnalysisOptions
from frm_mlflow.analysis.pareto import Dominance, frontier
from frm_mlflow.analysis.ranks import pairs, ranks, row_spearman, spearman
from frm_mlflow.analysis.result import NOT_AVAILABLE, Analysis, Result, count, figure
from frm_mlflow.analysis.rows import KEY_COLUMNS
from frm_mlflow.analysis.selection import Selection
from frm_mlflow.schema import DEVICE, TIER

SUBSETS: tuple[tuple[str, ...], ...] = (
    ("latency", "memory"),
    ("flops", "memory"),
    ("flops", "latency"),
    ("flops",),
    ("latency",),
    ("memory",),
)
"""Subsets of FRM with one or two components removed."""


def compute(selection: Selection, options: AnalysisOptions, rng: np.random.Generator) -> Result:
    """Rank the models of every configuration, for each baseline, component subset and doubled FLOPs count."""
    del rng
    matrix = selection.matrix
    board = leaderboard(matrix, options)
    baselines = baseline_agreement(selection.comparable, options)
    components = component_sensitivity(matrix, options)
    counter = counter_sensitivity(matrix)
    tables = {"leaderboard": board, "baselines": baselines, "components": components, "counter": counter}
    return Result(tables=tables, sentences=tuple(_sentences(matrix, board, baselines, components, counter)))


def leaderboard(matrix: ResultMatrix, options: AnalysisOptions) -> pd.DataFrame:
    """Return one row per benchmark: FRM, FRM_E, ratios, rank, FRM under other baselines, and the frontier.

    `frm_common` is relative to the baseline in the widest precision of the device (`common_baseline`).
    """
    frm = matrix.frm()
    cells = np.nonzero(matrix.measured)
    shown: dict[str, np.ndarray[tuple[int, ...], np.dtype[Any]]] = {
        "frm": frm,
        "rank": ranks(matrix.frm_order()),
        "frm_e": matrix.frm(components=FRM_E_COMPONENTS),
        **{f"ratio_{name}": values for name, values in matrix.ratios().items()},
        **{f"frm_{name}": matrix.frm(name) for name in options.baselines if name != matrix.baseline},
        "latency_ms": matrix.latency_ms,
        "memory_mib": matrix.memory_mib,
        "gmacs": matrix.gmacs,
        "params_m": matrix.params_m,
        "top1": matrix.top1,
        "run_id": matrix.run_ids,
    }
    on_frontier = configuration_frontiers(matrix.frm_order(), matrix.top1, options)
    labels = np.asarray(matrix.labels, dtype=object)[cells[0]]
    table = pd.DataFrame(
        {"configuration": labels, DEVICE.column: matrix.devices[cells[0]], TIER.column: matrix.tiers[cells[0]]}
    )
    table["model"] = np.asarray(matrix.models, dtype=object)[cells[1]]
    table["family"] = matrix.families[cells[1]]
    table = table.assign(**{name: values[cells] for name, values in shown.items()}, frontier=on_frontier[cells])
    keys = matrix.configurations[list(KEY_COLUMNS)].iloc[cells[0]].reset_index(drop=True)
    costs = table.drop(columns=list(KEY_COLUMNS), errors="ignore").assign(energy_mj=matrix.energy_mj[cells])
    common = against_common_baseline(
        pd.concat([keys, costs], axis=1), baseline=matrix.baseline, components=matrix.components
    )
    table = table.join(common)
    return table.sort_values(["configuration", "frm", "model"], kind="stable").reset_index(drop=True)


def configuration_frontiers(costs: Floats, top1: Floats, options: AnalysisOptions) -> Mask:
    """Return which models are Pareto-optimal on each configuration, (C, M)."""
    rule: Dominance = "strict" if options.dominance == "strict" else "any"
    return np.array([frontier(cost, value, dominance=rule) for cost, value in zip(costs, top1, strict=True)])


def baseline_agreement(matrix: ResultMatrix, options: AnalysisOptions) -> pd.DataFrame:
    """Compare the rankings under each pair of baselines, and return the rank stability under each (paper 3.4)."""
    frm = {name: matrix.frm(name) for name in dict.fromkeys([matrix.baseline, *options.baselines])}
    rows = []
    for one, other in combinations(frm, 2):
        rho = row_spearman(frm[one], frm[other], min_models=3)
        rows.append(
            {
                "baseline": one,
                "other": other,
                "configurations": int(np.isfinite(rho).sum()),
                "without_other": int((np.isfinite(frm[one]).any(axis=1) & ~np.isfinite(frm[other]).any(axis=1)).sum()),
                "same_order": int((rho > 1 - 1e-12).sum()),
                "rho": finite_mean(rho),
                "stability": _stability(frm[one], options),
                "stability_other": _stability(frm[other], options),
            }
        )
    return pd.DataFrame(rows)


def component_sensitivity(matrix: ResultMatrix, options: AnalysisOptions) -> pd.DataFrame:
    """Compare FRM's ranking with that of each subset of its components, on every configuration."""
    ratios = matrix.rankable_ratios()
    full = matrix.frm_order()
    rows = []
    for subset in SUBSETS:
        part = np.where(np.isfinite(full), frm_of(ratios, components=subset), np.nan)
        moved = np.abs(ranks(part) - ranks(full))
        rho = row_spearman(full, part, min_models=options.min_models)
        rows.append(
            {
                "components": " + ".join(subset),
                "left_out": " + ".join(name for name in FRM_COMPONENTS if name not in subset),
                "rho": finite_mean(rho),
                "lowest_rho": float(np.nanmin(rho)) if np.isfinite(rho).any() else float("nan"),
                "mean_ranks_moved": finite_mean(moved),
                "same_best_model": finite_mean(_same_best(full, part)),
                "configurations": int(np.isfinite(rho).sum()),
            }
        )
    return pd.DataFrame(rows)


def counter_sensitivity(matrix: ResultMatrix) -> pd.DataFrame:
    """Return how many ranks each model moves if a counter doubles or halves its FLOPs.

    A factor of two is the difference between counting operations and multiply-accumulates, and is applied to
    DeiT-Tiny alone in the paper's Table 9.
    """
    frm = matrix.frm_order()
    base = ranks(frm)
    rows = []
    for index, model in enumerate(matrix.models):
        moves = []
        for factor in (2.0, 0.5):
            changed = frm.copy()
            changed[:, index] *= factor ** (1 / len(matrix.components))
            moves.append(finite_mean(ranks(changed)[:, index] - base[:, index]))
        rows.append({"model": model, "ranks_if_doubled": moves[0], "ranks_if_halved": moves[1]})
    return pd.DataFrame(rows).sort_values("ranks_if_doubled", ascending=False, kind="stable").reset_index(drop=True)


def _sentences(
    matrix: ResultMatrix, board: pd.DataFrame, baselines: pd.DataFrame, components: pd.DataFrame, counter: pd.DataFrame
) -> list[str]:
    ranked = int(np.isfinite(board["frm"]).sum())
    size = f"{count(len(board), 'benchmark')} on {count(len(matrix.labels), 'configuration')}"
    if not ranked:
        missing = [part for part in matrix.components if not np.isfinite(matrix.costs[part]).any()]
        reason = f": none has {' or '.join(missing)}" if missing else ""
        return [f"FRM is {NOT_AVAILABLE} for {size}{reason}."]
    best = board[board["rank"] == 1]["model"].value_counts()
    first = f" {best.index[0]} ranks first on {count(best.iloc[0], 'configuration')}." if len(best) else ""
    sentences = [f"{ranked} of {size} have an FRM.{first}", *map(_baseline_sentence, baselines.to_dict("records"))]
    if components["configurations"].max() > 0:
        weakest = components.iloc[:3].sort_values("rho").iloc[0]
        sentences.append(
            f"Of the three components, {weakest['left_out']} affects the order most: without it, ρ with the full FRM "
            f"is {weakest['rho']:.3f} and a model moves by {weakest['mean_ranks_moved']:.2f} ranks on average."
        )
    moved = counter.dropna()
    if len(moved):
        sentences.append(
            f"If the count of its FLOPs doubled, {moved.iloc[0]['model']} would move by "
            f"{moved.iloc[0]['ranks_if_doubled']:.1f} ranks, more than any other model."
        )
    return sentences


def _baseline_sentence(row: Mapping[Hashable, Any]) -> str:
    if not row["configurations"]:
        return f"No configuration has an FRM under both {row['baseline']} and {row['other']} as the baseline."
    order = (
        f"With {row['baseline']} and with {row['other']} as the baseline, the order is the same on {row['same_order']} "
        f"of {count(row['configurations'], 'configuration')}"
    )
    if row["same_order"] == row["configurations"]:
        return f"{order}. A baseline is one constant per device, so this follows from algebra and is not evidence."
    return (
        f"{order} (ρ = {figure(row['rho'])}). One constant per device changes no order: ratios that were measured "
        "alternately with the baseline differ from quotients of two runs."
    )


def _stability(values: Floats, options: AnalysisOptions) -> float:
    rho, _ = spearman(values, values, min_models=options.min_models)
    return finite_mean(pairs(rho))


def _same_best(one: Floats, other: Floats) -> Floats:
    """Return 1 for each configuration with the same first model by both, 0 for the others, NaN without models."""
    finite = (np.where(np.isfinite(v), v, np.inf) for v in (one, other))
    first = [v == v.min(axis=1, keepdims=True) for v in finite]
    return np.where(np.isfinite(one).any(axis=1), (first[0] & first[1]).any(axis=1), np.nan)


FRM_ANALYSIS = Analysis(
    name="frm",
    question="Which model is the most efficient on each configuration, and how robust is that order?",
    paper="eq. 1-4, 3.3, 3.4",
    compute=compute,
)
