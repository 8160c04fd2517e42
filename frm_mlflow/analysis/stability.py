"""How similarly a metric ranks models on different devices (paper Table 5, 4.4), and how much of that is trivial."""

from __future__ import annotations

import numpy as np
import pandas as pd

from frm_mlflow.analysis.arrays import Floats, Mask, column_means, known_mean
from frm_mlflow.analysis.bootstrap import ANY_NUMBER, CORRELATION, Bounds, Interval, pair_mean_interval
from frm_mlflow.analysis.controls import ACCURACY, FRM, LATENCY, MEMORY, SHUFFLED, control_sample, metrics, shuffled_frm
from frm_mlflow.analysis.fleet import Fleet
from frm_mlflow.analysis.options import AnalysisOptions
from frm_mlflow.analysis.ranks import pairs, spearman
from frm_mlflow.analysis.result import Analysis, Result, interval_cells, keyed, percent, spread_cells, with_ends
from frm_mlflow.analysis.selection import Selection
from frm_mlflow.analysis.significance import mann_whitney
from frm_mlflow.errors import DataError


def compute(selection: Selection, options: AnalysisOptions, rng: np.random.Generator) -> Result:
    """Return rank stability and variation of every metric, the shuffled control, and tests between metrics."""
    fleet = selection.comparable
    apart = different_chips(fleet)
    values = metrics(fleet) | {ACCURACY: np.where(fleet.measured, fleet.top1, np.nan)}
    correlations = {name: spearman(v, v, min_models=options.min_models)[0] for name, v in values.items()}
    if not pairs(correlations[LATENCY], apart).size:
        raise DataError(
            f"stability needs two configurations on different chips with {options.min_models} models in common; "
            f"there are {len(set(fleet.chips))} chips"
        )
    metric_table = _metric_table(fleet, correlations, options, rng)
    control = {
        SHUFFLED: shuffled_stability(fleet, ("latency", "memory", "energy"), options, rng),
        "frm_latency_shuffled": shuffled_stability(fleet, ("latency",), options, rng),
    }
    spreads = [{"metric": n, "repeats": v.size, **spread_cells(v, options.confidence)} for n, v in control.items()]
    shuffled = pd.DataFrame(spreads)
    tables = {
        "metrics": metric_table,
        "shuffled": shuffled,
        "differences": _differences(fleet, correlations, options, rng),
        "variation": variation(fleet),
        "by_side": _by_side(fleet, correlations),
        "pairs": _histogram({name: pairs(rho, apart) for name, rho in correlations.items()}),
    }
    return Result(tables=tables, sentences=tuple(_sentences(tables, explained_by_flops(fleet))))


def different_chips(fleet: Fleet) -> Mask:
    """Return a mask of the pairs of configurations on different chips, or on different substitutes for chips."""
    code = np.unique(fleet.units.astype(str), return_inverse=True)[1]
    apart: Mask = code[:, None] != code[None, :]
    return apart


def shuffled_stability(
    fleet: Fleet, components: tuple[str, ...], options: AnalysisOptions, rng: np.random.Generator
) -> Floats:
    """Return, for each repeat, the rank stability of FRM with `components` shuffled across models."""
    sample = fleet.select(control_sample(fleet, rng))
    apart = different_chips(sample)
    repeats = [
        known_mean(pairs(spearman(values, values, min_models=options.min_models)[0], apart))
        for values in shuffled_frm(sample, components, repeats=options.shuffles, rng=rng)
    ]
    return np.array(repeats)


def variation(fleet: Fleet) -> pd.DataFrame:
    """Return each quantity's variation between configurations: mean over models of sd / mean, and of the log's sd.

    The last rows are a control: FRM is a cube root, and taking a cube root alone shrinks a spread to about a third.
    """
    ratios = fleet.ratios()
    quantities = {
        "frm": fleet.frm(),
        "latency_ms": fleet.latency_ms,
        "memory_mib": fleet.memory_mib,
        "top1": fleet.top1,
        "ratio_latency": ratios["latency"],
        "ratio_memory": ratios["memory"],
        "cube root of latency_ms": np.cbrt(fleet.latency_ms),
        "cube root of ratio_latency": np.cbrt(ratios["latency"]),
    }
    rows = [
        {"quantity": name, "cv": known_mean(coefficient_of_variation(v)), "log_sd": known_mean(_sd(np.log(v)))}
        for name, v in quantities.items()
    ]
    return pd.DataFrame(rows)


def explained_by_flops(fleet: Fleet) -> Floats:
    """Return, for each configuration, the share of the variance of log FRM that is explained by log FLOPs (R²)."""
    frm, flops = np.log(fleet.frm_order()), np.log(fleet.gmacs)
    both = np.isfinite(frm) & np.isfinite(flops)
    means = [column_means(np.where(both, values, np.nan).T)[:, None] for values in (frm, flops)]
    centred = [np.where(both, values - mean, 0.0) for values, mean in zip((frm, flops), means, strict=True)]
    covariance = (centred[0] * centred[1]).sum(axis=1)
    spread = np.prod([(c**2).sum(axis=1) for c in centred], axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        share: Floats = np.where(both.sum(axis=1) > 2, covariance**2 / spread, np.nan)
    return share


def _metric_table(
    fleet: Fleet, correlations: dict[str, Floats], options: AnalysisOptions, rng: np.random.Generator
) -> pd.DataFrame:
    apart = different_chips(fleet)
    found = _intervals(fleet, list(correlations.values()), options, rng, bounds=CORRELATION)
    rows = []
    for (name, rho), interval in zip(correlations.items(), found, strict=True):
        known = pairs(rho, apart)
        rows.append(
            {"metric": name, "rho": interval.estimate, **interval_cells(interval)}
            | {"sd_over_pairs": float(known.std()) if known.size else float("nan"), "pairs": known.size}
            | {"rho_all_pairs": known_mean(pairs(rho))}
        )
    return pd.DataFrame(rows)


def _differences(
    fleet: Fleet, correlations: dict[str, Floats], options: AnalysisOptions, rng: np.random.Generator
) -> pd.DataFrame:
    """Compare FRM with the others by pairs; intervals resample chips, U and p assume independent pairs (paper 4.4)."""
    others = [name for name in (LATENCY, MEMORY, ACCURACY) if np.isfinite(correlations[name]).any()]
    apart = different_chips(fleet)
    found = _intervals(fleet, [correlations[FRM] - correlations[name] for name in others], options, rng)
    rows = []
    for name, interval in zip(others, found, strict=True):
        test = mann_whitney(pairs(correlations[FRM], apart), pairs(correlations[name], apart))
        rows.append(
            {"metric": FRM, "other": name, "difference": interval.estimate, **interval_cells(interval)}
            | {"u": test.u, "largest_u": test.largest_u, "p_if_pairs_were_independent": test.p}
        )
    return pd.DataFrame(rows)


def _intervals(
    fleet: Fleet,
    matrices: list[Floats],
    options: AnalysisOptions,
    rng: np.random.Generator,
    *,
    bounds: Bounds = ANY_NUMBER,
) -> list[Interval]:
    return pair_mean_interval(
        matrices,
        fleet.clusters,
        fleet.clusters,
        apart=different_chips(fleet),
        rng=rng,
        resamples=options.resamples,
        confidence=options.confidence,
        bounds=bounds,
    )


def _by_side(fleet: Fleet, correlations: dict[str, Floats]) -> pd.DataFrame:
    apart = different_chips(fleet)
    sides = fleet.side_names
    rows = []
    for place, one in enumerate(sides):
        for other in sides[place:]:
            both = (fleet.sides == one)[:, None] & (fleet.sides == other)[None, :]
            wanted = apart & (both | both.T)
            rho = {name: known_mean(pairs(values, wanted)) for name, values in correlations.items()}
            rows.append({"side": one, "other": other, "pairs": int(np.triu(wanted, 1).sum()), **rho})
    return pd.DataFrame(rows)


def _histogram(samples: dict[str, Floats]) -> pd.DataFrame:
    """Return the distribution of the pairs' correlations, in bins of 0.05."""
    edges = np.linspace(-1, 1, 41)
    counts = {name: np.histogram(rho, bins=edges)[0] for name, rho in samples.items()}
    return pd.DataFrame({"rho_from": edges[:-1].round(2), "rho_to": edges[1:].round(2), **counts})


def _sentences(tables: dict[str, pd.DataFrame], explained: Floats) -> list[str]:
    table = tables["metrics"]
    place = {name: index for index, name in enumerate(table["metric"])}
    rho = keyed(table, ["metric"], "rho")[FRM,]
    if not np.isfinite(rho):
        latency = with_ends(table, place[LATENCY], "rho")
        return [f"No two configurations share enough models with an FRM; latency ranks them with ρ = {latency}."]
    shown = {name: with_ends(table, place[name], "rho") for name in (FRM, LATENCY, MEMORY)}
    control = float(tables["shuffled"]["mean"].iloc[0])
    cv = keyed(tables["variation"], ["quantity"], "cv")
    return [
        f"From one configuration to another FRM ranks models with ρ = {shown[FRM]}, "
        f"latency with {shown[LATENCY]}, memory with {shown[MEMORY]}.",
        "The shuffled control, FRM whose latency and memory were dealt out at random, already reaches "
        f"ρ = {with_ends(tables['shuffled'], 0, 'mean')}: {percent(control / rho)} of FRM's stability.",
        "FLOPs alone and parameters alone have a stability of 1 wherever they are the same number on every device: "
        "stability by itself says nothing for a metric.",
        f"The coefficient of variation falls from {cv['latency_ms',]:.3f} (latency) to {cv['frm',]:.3f} (FRM); "
        f"the cube root of the latency ratio alone has {cv['cube root of ratio_latency',]:.3f}.",
        f"FLOPs explain {percent(float(np.nanmedian(explained)))} of the variance of log FRM on the median "
        "configuration.",
    ]


def coefficient_of_variation(values: Floats) -> Floats:
    """Return each model's sd / mean across configurations; NaN with fewer than two."""
    with np.errstate(invalid="ignore", divide="ignore"):
        cv: Floats = _sd(values) / column_means(values)
    return cv


def _sd(values: Floats) -> Floats:
    known = np.isfinite(values)
    n = known.sum(axis=0)
    deviation = np.where(known, values - column_means(values), 0.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(n > 1, np.sqrt((deviation**2).sum(axis=0) / (n - 1)), np.nan)


STABILITY = Analysis(
    name="stability",
    question="Does a metric rank the models alike on every device, and how much of that is free?",
    paper="Table 5; 4.4",
    compute=compute,
    compares_sides=True,
)
