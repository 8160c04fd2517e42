"""Does a ranking from one place hold in another: tiers, devices, runtimes and precisions (paper Table 4, 4.3)."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pandas as pd

from frm_mlflow.analysis.arrays import Floats, Words, known_mean, known_sd
from frm_mlflow.analysis.bootstrap import CORRELATION, mean_intervals
from frm_mlflow.analysis.concordance import concordance
from frm_mlflow.analysis.controls import (
    FLOPS,
    FRM,
    LATENCY,
    PREDICTORS,
    SHUFFLED,
    control_sample,
    metrics,
    shuffled_frm,
)
from frm_mlflow.analysis.fleet import Fleet
from frm_mlflow.analysis.matched import matched_pairs
from frm_mlflow.analysis.options import AnalysisOptions
from frm_mlflow.analysis.ranks import kendall_tau_b, mean_percent_ranks, row_spearman, spearman
from frm_mlflow.analysis.result import Analysis, Result, interval_cells, keyed, spread_cells
from frm_mlflow.analysis.selection import Selection
from frm_mlflow.analysis.significance import bonferroni, holm, spearman_p
from frm_mlflow.errors import DataError
from frm_mlflow.schema import PRECISION, RUNTIME

ITSELF = "itself"
_MATRIX_DEVICES = 150


def compute(selection: Selection, options: AnalysisOptions, rng: np.random.Generator) -> Result:
    """Score every predictor on every transfer, with intervals over the target's chips and corrected tests."""
    fleet = selection.comparable
    if len(fleet.labels) < 2:
        raise DataError("transfer needs at least two configurations that compare; there is one")
    values = metrics(fleet)
    tables = {
        "sides": side_transfer(fleet, values, options, rng),
        "sides_shuffled": shuffled_transfer(fleet, options, rng),
        "devices": device_transfer(fleet, values, options, rng),
        "runtimes": matched_transfer(fleet, RUNTIME.column, options, rng),
        "precisions": matched_transfer(fleet, PRECISION.column, options, rng),
        "concordance": concordance(fleet, values, options, rng),
        "matrix_frm": device_matrix(fleet, values[FRM], options),
        "matrix_latency": device_matrix(fleet, values[LATENCY], options),
    }
    return Result(tables=tables, sentences=tuple(_sentences(tables, fleet)))


def source_ranking(values: Floats) -> Floats:
    """Return the mean percent rank of each model over the source's configurations, shape (M,) (paper 4.3)."""
    return mean_percent_ranks(values)


def side_transfer(
    fleet: Fleet, values: dict[str, Floats], options: AnalysisOptions, rng: np.random.Generator
) -> pd.DataFrame:
    """Return one row per source side, target side, predictor and predicted metric.

    The source's mean ranking by `predictor` is correlated with the ranking on each configuration
    of the target: by the same metric (`itself`, as in the paper), by FRM and by latency, because a control
    is only valid for the same question. The interval resamples target chips; the source is fixed.
    """
    rows: list[dict[str, object]] = []
    for source, target in permutations(fleet.side_names, 2):
        here, there = np.flatnonzero(fleet.sides == source), np.flatnonzero(fleet.sides == target)
        asked = [(name, wanted) for name in PREDICTORS for wanted in (ITSELF, FRM, LATENCY) if name != wanted]
        rho, tau, cells = [], [], []
        for name, wanted in asked:
            truth = values[name if wanted == ITSELF else wanted]
            ranking = source_ranking(values[name][here])[None]
            rho.append(spearman(ranking, truth[there], min_models=options.min_models)[0][0])
            tau.append(kendall_tau_b(ranking, truth[there], min_models=options.min_models)[0])
            cells.append(_level_test(ranking[0], source_ranking(truth[there]), options))
        columns = np.column_stack(rho)
        found = mean_intervals(
            columns,
            fleet.clusters[there],
            rng=rng,
            resamples=options.resamples,
            confidence=options.confidence,
            bounds=CORRELATION,
        )
        for place, ((name, wanted), interval) in enumerate(zip(asked, found, strict=True)):
            rows.append(
                {"source": source, "target": target, "predictor": name, "predicts": wanted, "rho": interval.estimate}
                | interval_cells(interval)
                | {"sd": known_sd(columns[:, place]), "tau_b": known_mean(tau[place])}
                | {"targets": int(np.isfinite(columns[:, place]).sum()), **cells[place]}
            )
    table = pd.DataFrame(rows)
    return _corrected(table) if len(table) else table


def shuffled_transfer(fleet: Fleet, options: AnalysisOptions, rng: np.random.Generator) -> pd.DataFrame:
    """Return the correlations that FRM with shuffled latency and memory still reaches, with mean and interval."""
    sample = fleet.select(control_sample(fleet, rng))
    truth = metrics(sample)
    directions = list(permutations(sample.side_names, 2))
    asked = [(source, target, wanted) for source, target in directions for wanted in (ITSELF, FRM, LATENCY)]
    repeats: list[list[float]] = []
    for values in shuffled_frm(sample, repeats=options.shuffles, rng=rng):
        rankings = {side: source_ranking(values[sample.sides == side])[None] for side in set(sample.sides)}
        repeats.append(
            [
                known_mean(
                    spearman(
                        rankings[source],
                        (values if wanted == ITSELF else truth[wanted])[sample.sides == target],
                        min_models=options.min_models,
                    )[0]
                )
                for source, target, wanted in asked
            ]
        )
    columns = np.array(repeats).reshape(len(repeats), len(asked))
    rows = [
        {"source": source, "target": target, "predictor": SHUFFLED, "predicts": wanted}
        | spread_cells(columns[:, place], options.confidence)
        | {"repeats": len(repeats)}
        for place, (source, target, wanted) in enumerate(asked)
    ]
    return pd.DataFrame(rows)


def device_transfer(
    fleet: Fleet, values: dict[str, Floats], options: AnalysisOptions, rng: np.random.Generator
) -> pd.DataFrame:
    """Return, for each device as the only source, how well it ranks the other chips of each side."""
    rows: list[dict[str, object]] = []
    for predictor, wanted in ((FRM, ITSELF), (LATENCY, ITSELF), (FRM, LATENCY), (FLOPS, LATENCY)):
        truth = values[predictor if wanted == ITSELF else wanted]
        rho, _ = spearman(values[predictor], truth, min_models=options.min_models)
        rho = np.where(fleet.units[:, None] != fleet.units[None, :], rho, np.nan)
        names, by_source = _mean_over_rows(rho, fleet.devices)
        for target in fleet.side_names:
            there = fleet.sides == target
            found = mean_intervals(
                by_source[:, there].T,
                fleet.clusters[there],
                rng=rng,
                resamples=options.resamples,
                confidence=options.confidence,
                bounds=CORRELATION,
            )
            for name, interval in zip(names, found, strict=True):
                if np.isfinite(interval.estimate):
                    rows.append(
                        {"source": name, "target": target, "predictor": predictor, "predicts": wanted}
                        | {"rho": interval.estimate, **interval_cells(interval)}
                    )
    return pd.DataFrame(rows, columns=["source", "target", "predictor", "predicts", "rho", "low", "high", "chips"])


def matched_transfer(fleet: Fleet, axis: str, options: AnalysisOptions, rng: np.random.Generator) -> pd.DataFrame:
    """Correlate configurations that differ only in `axis` (paper: framework invariance), by pair of levels."""
    matched = matched_pairs(fleet.configurations, axis)
    levels = pd.MultiIndex.from_arrays([matched.level_a, matched.level_b], names=[axis, "other"])
    values = metrics(fleet)
    rows: list[dict[str, object]] = []
    for pair in levels.unique():
        chosen = np.flatnonzero(levels == pair)
        a, b = matched.a[chosen], matched.b[chosen]
        rho = np.column_stack([row_spearman(v[a], v[b], min_models=options.min_models) for v in values.values()])
        found = mean_intervals(
            rho,
            fleet.clusters[a],
            rng=rng,
            resamples=options.resamples,
            confidence=options.confidence,
            bounds=CORRELATION,
        )
        for place, (name, interval) in enumerate(zip(values, found, strict=True)):
            rows.append(
                {axis: pair[0], "other": pair[1], "metric": name, "rho": interval.estimate, **interval_cells(interval)}
                | {"sd": known_sd(rho[:, place]), "pairs": int(np.isfinite(rho[:, place]).sum())}
            )
    return pd.DataFrame(rows, columns=[axis, "other", "metric", "rho", "low", "high", "chips", "sd", "pairs"])


def device_matrix(fleet: Fleet, values: Floats, options: AnalysisOptions) -> pd.DataFrame:
    """Return the square matrix of mean rank correlations between devices, at most the 150 with the most benchmarks."""
    rho, _ = spearman(values, values, min_models=options.min_models)
    np.fill_diagonal(rho, np.nan)
    names, by_row = _mean_over_rows(rho, fleet.devices)
    _, square = _mean_over_rows(by_row.T, fleet.devices)
    counts = pd.Series(fleet.measured.sum(axis=1)).groupby(fleet.devices).sum().reindex(names)
    largest = np.sort(np.argsort(-counts.to_numpy(), kind="stable")[:_MATRIX_DEVICES])
    return (
        pd.DataFrame(square[np.ix_(largest, largest)], index=names[largest], columns=names[largest])
        .rename_axis("device")
        .reset_index()
    )


def _level_test(ranking: Floats, truth: Floats, options: AnalysisOptions) -> dict[str, float]:
    """Correlate the two sides' mean rankings; its p is corrected for multiple comparisons."""
    rho = float(spearman(ranking[None], truth[None], min_models=options.min_models)[0][0, 0])
    return {"rho_of_mean_rankings": rho, "p": spearman_p(rho, ranking, truth)}


def _corrected(table: pd.DataFrame) -> pd.DataFrame:
    """Add Bonferroni's and Holm's p over all transfers of one question (predictor and predicted metric)."""
    question = table.groupby(["predictor", "predicts"], sort=False)["p"]
    return table.assign(p_bonferroni=question.transform(bonferroni), p_holm=question.transform(holm))


def _mean_over_rows(matrix: Floats, names: Words) -> tuple[Words, Floats]:
    """Return the distinct names and the mean of the rows with each name, ignoring NaN."""
    unique, code = np.unique(names.astype(str), return_inverse=True)
    member = (np.arange(unique.size)[:, None] == code[None, :]).astype(np.float64)
    known = np.isfinite(matrix)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean: Floats = (member @ np.where(known, matrix, 0.0)) / (member @ known)
    return unique.astype(object), mean


def _sentences(tables: dict[str, pd.DataFrame], fleet: Fleet) -> list[str]:
    sides = tables["sides"]
    if sides.empty:
        found = [f"All configurations are on one side ({fleet.sides[0]}), so nothing transfers to another."]
    else:
        directions = dict.fromkeys(zip(sides["source"], sides["target"], strict=True))
        found = [_side_sentence(tables, source, target) for source, target in directions]
    return [*found, *(_matched_sentence(tables[name]) for name in ("runtimes", "precisions"))]


def _matched_sentence(table: pd.DataFrame) -> str:
    axis = table.columns[0]
    rows = table[table["metric"] == FRM].dropna(subset=["rho"])
    if rows.empty:
        return f"No device was measured with two {axis}s and enough common models."
    parts = [
        f"{a} and {b} {rho:.3f} ({n} pairs)"
        for a, b, rho, n in zip(*(rows[c] for c in (axis, "other", "rho", "pairs")), strict=True)
    ]
    return f"FRM ranks on the same device, {axis}s side by side: {', '.join(parts)}."


def _side_sentence(tables: dict[str, pd.DataFrame], source: str, target: str) -> str:
    keys = ["source", "target", "predictor", "predicts"]
    rho = keyed(tables["sides"], keys, "rho") | keyed(tables["sides_shuffled"], keys, "mean")
    of = {(name, wanted): rho[source, target, name, wanted] for *_, name, wanted in rho}
    return (
        f"{source} → {target}: FRM ranks transfer with ρ = {of[FRM, ITSELF]:.3f}, latency ranks with "
        f"{of[LATENCY, ITSELF]:.3f}. FLOPs alone predict the target's FRM ranks with {of[FLOPS, FRM]:.3f} and its "
        f"latency ranks with {of[FLOPS, LATENCY]:.3f}; shuffled FRM predicts FRM with {of[SHUFFLED, FRM]:.3f}."
    )


TRANSFER = Analysis(
    name="transfer",
    question="Does a ranking measured here hold there?",
    paper="Table 4; 4.3, framework invariance",
    compute=compute,
    compares_sides=True,
)
