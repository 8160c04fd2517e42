"""How similarly a metric ranks models on different devices (paper Table 5, 4.4), and how much of that is trivial."""

from __future__ import annotations

import numpy as np
import pandas as pd

from frm_mlflow.analysis.arrays import Floats, Mask, column_means, finite_mean
from frm_mlflow.analysis.bootstrap import ANY_NUMBER, CORRELATION, Bounds, ChipInterval, pair_mean_interval
from frm_mlflow.analysis.controls import ACCURACY, FRM, LATENCY, MEMORY, SHUFFLED, control_sample, metrics, shuffled_frm
from frm_mlflow.analysis.matrix import ResultMatrix
from frm_mlflow.analysis.options import AnalysisOptions
from frm_mlflow.analysis.ranks import pairs, spearman
from frm_mlflow.analysis.result import Analysis, Result, figure, interval_cells, keyed, percent, spread_cells, with_ends
from frm_mlflow.analysis.selection import Selection
from frm_mlflow.analysis.significance import mann_whitney
from frm_mlflow.errors import DataError


def compute(selection: Selection, options: AnalysisOptions, rng: np.random.Generator) -> Result:
    """Return rank stability and variation of every metric, the shuffled control, and tests between metrics."""
    matrix = selection.comparable
    apart = different_chips(matrix)
    values = metrics(matrix) | {ACCURACY: np.where(matrix.measured, matrix.top1, np.nan)}
    correlations = {name: spearman(v, v, min_models=options.min_models)[0] for name, v in values.items()}
    if not pairs(correlations[LATENCY], apart).size:
        raise DataError(
            f"stability needs two configurations on different chips with {options.min_models} models in common; "
            f"there are {len(set(matrix.chips))} chips"
        )
    metric_table = _metric_table(matrix, correlations, options, rng)
    control = {
        SHUFFLED: shuffled_stability(matrix, ("latency", "memory", "energy"), options, rng),
        "frm_latency_shuffled": shuffled_stability(matrix, ("latency",), options, rng),
    }
    spreads = [{"metric": n, "repeats": v.size, **spread_cells(v, options.confidence)} for n, v in control.items()]
    shuffled = pd.DataFrame(spreads)
    tables = {
        "metrics": metric_table,
        "shuffled": shuffled,
        "differences": _differences(matrix, correlations, options, rng),
        "variation": variation(matrix),
        "by_side": _by_side(matrix, correlations),
        "pairs": _histogram({name: pairs(rho, apart) for name, rho in correlations.items()}),
    }
    return Result(tables=tables, sentences=tuple(_sentences(tables, explained_by_flops(matrix))))


def different_chips(matrix: ResultMatrix) -> Mask:
    """Return a mask of the pairs of configurations on different chips, or on different substitutes for chips."""
    code = np.unique(matrix.units.astype(str), return_inverse=True)[1]
    apart: Mask = code[:, None] != code[None, :]
    return apart


def shuffled_stability(
    matrix: ResultMatrix, components: tuple[str, ...], options: AnalysisOptions, rng: np.random.Generator
) -> Floats:
    """Return, for each repeat, the rank stability of FRM with `components` shuffled across models."""
    sample = matrix.select(control_sample(matrix, rng))
    apart = different_chips(sample)
    repeats = [
        finite_mean(pairs(spearman(values, values, min_models=options.min_models)[0], apart))
        for values in shuffled_frm(sample, components, repeats=options.shuffles, rng=rng)
    ]
    return np.array(repeats)


def variation(matrix: ResultMatrix) -> pd.DataFrame:
    """Return each quantity's variation between configurations: mean over models of sd / mean, and of the log's sd.

    The last rows are a control: FRM is a cube root, and taking a cube root alone shrinks a spread to about a third.
    """
    ratios = matrix.ratios()
    quantities = {
        "frm": matrix.frm(),
        "latency_ms": matrix.latency_ms,
        "memory_mib": matrix.memory_mib,
        "top1": matrix.top1,
        "ratio_latency": ratios["latency"],
        "ratio_memory": ratios["memory"],
        "cube root of latency_ms": np.cbrt(matrix.latency_ms),
        "cube root of ratio_latency": np.cbrt(ratios["latency"]),
    }
    rows = [
        {"quantity": name, "cv": finite_mean(coefficient_of_variation(v)), "log_sd": finite_mean(_sd(np.log(v)))}
        for name, v in quantities.items()
    ]
    return pd.DataFrame(rows)


def explained_by_flops(matrix: ResultMatrix) -> Floats:
    """Return, for each configuration, the share of the variance of log FRM that is explained by log FLOPs (R²)."""
    frm, flops = np.log(matrix.frm_order()), np.log(matrix.gmacs)
    both = np.isfinite(frm) & np.isfinite(flops)
    means = [column_means(np.where(both, values, np.nan).T)[:, None] for values in (frm, flops)]
    centred = [np.where(both, values - mean, 0.0) for values, mean in zip((frm, flops), means, strict=True)]
    covariance = (centred[0] * centred[1]).sum(axis=1)
    spread = np.prod([(c**2).sum(axis=1) for c in centred], axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        share: Floats = np.where(both.sum(axis=1) > 2, covariance**2 / spread, np.nan)
    return share


def _metric_table(
    matrix: ResultMatrix, correlations: dict[str, Floats], options: AnalysisOptions, rng: np.random.Generator
) -> pd.DataFrame:
    apart = different_chips(matrix)
    intervals = _intervals(matrix, list(correlations.values()), options, rng, bounds=CORRELATION)
    rows = []
    for (name, rho), interval in zip(correlations.items(), intervals, strict=True):
        of_pairs = pairs(rho, apart)
        rows.append(
            {"metric": name, "rho": interval.value, **interval_cells(interval)}
            | {"sd_over_pairs": float(of_pairs.std()) if of_pairs.size else float("nan"), "pairs": of_pairs.size}
            | {"rho_all_pairs": finite_mean(pairs(rho))}
        )
    return pd.DataFrame(rows)


def _differences(
    matrix: ResultMatrix, correlations: dict[str, Floats], options: AnalysisOptions, rng: np.random.Generator
) -> pd.DataFrame:
    """Compare FRM with the others by pairs; intervals resample chips, U and p assume independent pairs (paper 4.4)."""
    others = [name for name in (LATENCY, MEMORY, ACCURACY) if np.isfinite(correlations[name]).any()]
    apart = different_chips(matrix)
    intervals = _intervals(matrix, [correlations[FRM] - correlations[name] for name in others], options, rng)
    rows = []
    for name, interval in zip(others, intervals, strict=True):
        test = mann_whitney(pairs(correlations[FRM], apart), pairs(correlations[name], apart))
        rows.append(
            {"metric": FRM, "other": name, "difference": interval.value, **interval_cells(interval)}
            | {"u": test.u, "largest_u": test.largest_u, "p_if_pairs_were_independent": test.p}
        )
    return pd.DataFrame(rows)


def _intervals(
    matrix: ResultMatrix,
    matrices: list[Floats],
    options: AnalysisOptions,
    rng: np.random.Generator,
    *,
    bounds: Bounds = ANY_NUMBER,
) -> list[ChipInterval]:
    return pair_mean_interval(
        matrices,
        matrix.clusters,
        matrix.clusters,
        apart=different_chips(matrix),
        rng=rng,
        bounds=bounds,
        **options.bootstrap,
    )


def _by_side(matrix: ResultMatrix, correlations: dict[str, Floats]) -> pd.DataFrame:
    apart = different_chips(matrix)
    sides = matrix.side_names
    rows = []
    for place, one in enumerate(sides):
        for other in sides[place:]:
            both = (matrix.sides == one)[:, None] & (matrix.sides == other)[None, :]
            mask = apart & (both | both.T)
            rho = {name: finite_mean(pairs(values, mask)) for name, values in correlations.items()}
            rows.append({"side": one, "other": other, "pairs": int(np.triu(mask, 1).sum()), **rho})
    return pd.DataFrame(rows)


def _histogram(samples: dict[str, Floats]) -> pd.DataFrame:
    """Return the distribution of the pairs' correlations, in bins of 0.05."""
    edges = np.linspace(-1, 1, 41)
    counts = {name: np.histogram(rho, bins=edges)[0] for name, rho in samples.items()}
    return pd.DataFrame({"rho_from": edges[:-1].round(2), "rho_to": edges[1:].round(2), **counts})


def _sentences(tables: dict[str, pd.DataFrame], explained: Floats) -> list[str]:
    metric_table, shuffled = tables["metrics"], tables["shuffled"]
    place = {name: row for row, name in enumerate(metric_table["metric"])}
    text = {name: with_ends(metric_table, place[name], "rho") for name in (FRM, LATENCY, MEMORY)}
    cv = keyed(tables["variation"], ["quantity"], "cv")
    sentences = [
        f"Between configurations, the rank correlation ρ is {text[FRM]} for FRM, {text[LATENCY]} for latency and "
        f"{text[MEMORY]} for memory."
    ]
    rho, control = float(metric_table["rho"].iloc[place[FRM]]), float(shuffled["mean"].iloc[0])
    if np.isfinite(control / rho):
        sentences.append(
            "The shuffled control, FRM with latency and memory shuffled across models, already reaches "
            f"ρ = {with_ends(shuffled, 0, 'mean')}, which is {percent(control / rho)} of FRM's stability."
        )
    sentences += [
        "FLOPs or parameters that are the same on every device have a stability of 1: stability by itself is no "
        "evidence for a metric.",
        f"The coefficient of variation is {figure(cv['latency_ms',])} for latency, {figure(cv['frm',])} for FRM and "
        f"{figure(cv['cube root of ratio_latency',])} for the cube root of the latency ratio alone.",
    ]
    if np.isfinite(explained).any():
        share = percent(float(np.nanmedian(explained)))
        sentences.append(f"FLOPs explain {share} of the variance of log FRM (median over configurations).")
    return sentences


def coefficient_of_variation(values: Floats) -> Floats:
    """Return each model's sd / mean across configurations; NaN with fewer than two."""
    with np.errstate(invalid="ignore", divide="ignore"):
        cv: Floats = _sd(values) / column_means(values)
    return cv


def _sd(values: Floats) -> Floats:
    finite = np.isfinite(values)
    n = finite.sum(axis=0)
    deviation = np.where(finite, values - column_means(values), 0.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(n > 1, np.sqrt((deviation**2).sum(axis=0) / (n - 1)), np.nan)


STABILITY = Analysis(
    name="stability",
    question="Does a metric rank models the same way on every device, and how much of that is trivial?",
    paper="Table 5; 4.4",
    compute=compute,
    compares_sides=True,
)
