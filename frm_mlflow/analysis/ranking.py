"""The leaderboard of each configuration by FRM, and its sensitivity to choices (paper eq. 1-4, 3.3, 3.4)."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from frm_mlflow.analysis.arrays import Floats, Mask, known_mean
from frm_mlflow.analysis.common_baseline import against_common_baseline
from frm_mlflow.analysis.fleet import Fleet
from frm_mlflow.analysis.frm import FRM_COMPONENTS, FRM_E_COMPONENTS, frm_of
from frm_mlflow.analysis.options import AnalysisOptions
from frm_mlflow.analysis.pareto import Dominance, frontier
from frm_mlflow.analysis.ranks import pairs, ranks, row_spearman, spearman
from frm_mlflow.analysis.result import Analysis, Result
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
    fleet = selection.fleet
    board = leaderboard(fleet, options)
    baselines = baseline_agreement(selection.comparable, options)
    components = component_sensitivity(fleet, options)
    counter = counter_sensitivity(fleet)
    tables = {"leaderboard": board, "baselines": baselines, "components": components, "counter": counter}
    return Result(tables=tables, sentences=tuple(_sentences(fleet, board, baselines, components, counter)))


def leaderboard(fleet: Fleet, options: AnalysisOptions) -> pd.DataFrame:
    """Return one row per benchmark: FRM, FRM_E, ratios, rank, FRM under other baselines, and the frontier.

    `frm_common` is relative to the baseline in the widest precision of the device (`common_baseline`).
    """
    frm = fleet.frm()
    cells = np.nonzero(fleet.measured)
    shown: dict[str, np.ndarray[tuple[int, ...], np.dtype[Any]]] = {
        "frm": frm,
        "rank": ranks(fleet.frm_order()),
        "frm_e": fleet.frm(components=FRM_E_COMPONENTS),
        **{f"ratio_{name}": values for name, values in fleet.ratios().items()},
        **{f"frm_{name}": fleet.frm(name) for name in options.baselines if name != fleet.baseline},
        "latency_ms": fleet.latency_ms,
        "memory_mib": fleet.memory_mib,
        "gmacs": fleet.gmacs,
        "params_m": fleet.params_m,
        "top1": fleet.top1,
        "run_id": fleet.run_ids,
    }
    on_frontier = configuration_frontiers(fleet.frm_order(), fleet.top1, options)
    labels = np.asarray(fleet.labels, dtype=object)[cells[0]]
    table = pd.DataFrame(
        {"configuration": labels, DEVICE.column: fleet.devices[cells[0]], TIER.column: fleet.tiers[cells[0]]}
    )
    table["model"] = np.asarray(fleet.models, dtype=object)[cells[1]]
    table["family"] = np.asarray(fleet.families, dtype=object)[cells[1]]
    table = table.assign(**{name: values[cells] for name, values in shown.items()}, frontier=on_frontier[cells])
    keys = fleet.configurations[list(KEY_COLUMNS)].iloc[cells[0]].reset_index(drop=True)
    costs = table.drop(columns=list(KEY_COLUMNS), errors="ignore").assign(energy_mj=fleet.energy_mj[cells])
    common = against_common_baseline(
        pd.concat([keys, costs], axis=1), baseline=fleet.baseline, components=fleet.components
    )
    table = table.join(common)
    return table.sort_values(["configuration", "frm", "model"], kind="stable").reset_index(drop=True)


def configuration_frontiers(costs: Floats, top1: Floats, options: AnalysisOptions) -> Mask:
    """Return which models are Pareto-optimal on each configuration, (C, M)."""
    rule: Dominance = "strict" if options.dominance == "strict" else "any"
    return np.array([frontier(cost, value, dominance=rule) for cost, value in zip(costs, top1, strict=True)])


def baseline_agreement(fleet: Fleet, options: AnalysisOptions) -> pd.DataFrame:
    """Compare the rankings under each pair of baselines, and return the rank stability under each (paper 3.4)."""
    frm = {name: fleet.frm(name) for name in dict.fromkeys([fleet.baseline, *options.baselines])}
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
                "rho": known_mean(rho),
                "stability": _stability(frm[one], options),
                "stability_other": _stability(frm[other], options),
            }
        )
    return pd.DataFrame(rows)


def component_sensitivity(fleet: Fleet, options: AnalysisOptions) -> pd.DataFrame:
    """Compare FRM's ranking with that of each subset of its components, on every configuration."""
    ratios = fleet.rankable_ratios()
    full = fleet.frm_order()
    rows = []
    for subset in SUBSETS:
        part = np.where(np.isfinite(full), frm_of(ratios, components=subset), np.nan)
        moved = np.abs(ranks(part) - ranks(full))
        rho = row_spearman(full, part, min_models=options.min_models)
        rows.append(
            {
                "components": " + ".join(subset),
                "left_out": " + ".join(name for name in FRM_COMPONENTS if name not in subset),
                "rho": known_mean(rho),
                "lowest_rho": float(np.nanmin(rho)) if np.isfinite(rho).any() else float("nan"),
                "mean_ranks_moved": known_mean(moved),
                "same_best_model": known_mean(_same_best(full, part)),
                "configurations": int(np.isfinite(rho).sum()),
            }
        )
    return pd.DataFrame(rows)


def counter_sensitivity(fleet: Fleet) -> pd.DataFrame:
    """Return how many ranks each model moves if a counter doubles or halves its FLOPs.

    A factor of two is the difference between counting operations and multiply-accumulates, and is applied to
    DeiT-Tiny alone in the paper's Table 9.
    """
    frm = fleet.frm_order()
    base = ranks(frm)
    rows = []
    for index, model in enumerate(fleet.models):
        moves = []
        for factor in (2.0, 0.5):
            changed = frm.copy()
            changed[:, index] *= factor ** (1 / len(fleet.components))
            moves.append(known_mean(ranks(changed)[:, index] - base[:, index]))
        rows.append({"model": model, "ranks_if_doubled": moves[0], "ranks_if_halved": moves[1]})
    return pd.DataFrame(rows).sort_values("ranks_if_doubled", ascending=False, kind="stable").reset_index(drop=True)


def _sentences(
    fleet: Fleet, board: pd.DataFrame, baselines: pd.DataFrame, components: pd.DataFrame, counter: pd.DataFrame
) -> list[str]:
    ranked = int(np.isfinite(board["frm"]).sum())
    best = board[board["rank"] == 1]["model"].value_counts()
    named = f" {best.index[0]} is first on {best.iloc[0]} of them." if len(best) else ""
    found = [f"{ranked} of {len(board)} benchmarks on {len(fleet.labels)} configurations have an FRM.{named}"]
    for row in baselines.to_dict("records"):
        if row["configurations"]:
            found.append(
                f"{row['baseline']} and {row['other']} as baselines give the same order on {row['same_order']} of "
                f"{row['configurations']} configurations{_why(row)}"
            )
        else:
            found.append(f"No configuration has {row['other']}, so it could not serve as a baseline.")
    if components["configurations"].max() > 0:
        weakest = components.iloc[:3].sort_values("rho").iloc[0]
        found.append(
            f"Of the three components, leaving out {weakest['left_out']} changes the order most: "
            f"ρ = {weakest['rho']:.3f} with the full FRM, {weakest['mean_ranks_moved']:.2f} ranks a model."
        )
    moved = counter.dropna()
    if len(moved):
        first = moved.iloc[0]
        found.append(
            f"A FLOPs counter that counts double moves {first['model']} by {first['ranks_if_doubled']:.1f} ranks, "
            "the most of all."
        )
    return found


def _why(row: Mapping[Hashable, Any]) -> str:
    if row["same_order"] == row["configurations"]:
        return ": a baseline is one constant a device, so this is algebra and no evidence."
    return (
        f" (ρ = {row['rho']:.3f}). One constant a device changes no order: ratios that were taken in one window with "
        "the baseline differ from quotients of two runs."
    )


def _stability(values: Floats, options: AnalysisOptions) -> float:
    rho, _ = spearman(values, values, min_models=options.min_models)
    return known_mean(pairs(rho))


def _same_best(one: Floats, other: Floats) -> Floats:
    """Return 1 for each configuration with the same first model by both, 0 for the others, NaN without models."""
    known = (np.where(np.isfinite(v), v, np.inf) for v in (one, other))
    first = [v == v.min(axis=1, keepdims=True) for v in known]
    return np.where(np.isfinite(one).any(axis=1), (first[0] & first[1]).any(axis=1), np.nan)


FRM_ANALYSIS = Analysis(
    name="frm",
    question="Which model is the most efficient on each configuration, and how firm is that order?",
    paper="eq. 1-4, 3.3, 3.4",
    compute=compute,
)
