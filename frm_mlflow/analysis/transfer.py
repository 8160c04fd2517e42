"""Does a ranking from one place hold in another: tiers, devices, runtimes and precisions (paper Table 4, 4.3)."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pandas as pd

from frm_mlflow.analysis.arrays import Floats, Words, finite_mean, finite_sd
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
from frm_mlflow.analysis.matched import level_pairs
from frm_mlflow.analysis.matrix import ResultMatrix
from frm_mlflow.analysis.options import AnalysisOptions
from frm_mlflow.analysis.ranks import kendall_tau_b, mean_percent_ranks, spearman
from frm_mlflow.analysis.result import (
    NOT_AVAILABLE,
    Analysis,
    Result,
    count,
    figure,
    interval_cells,
    keyed,
    spread_cells,
)
from frm_mlflow.analysis.selection import Selection
from frm_mlflow.analysis.significance import bonferroni, holm, spearman_p
from frm_mlflow.errors import DataError
from frm_mlflow.schema import PRECISION, RUNTIME

ITSELF = "itself"
_MATRIX_DEVICES = 150


def compute(selection: Selection, options: AnalysisOptions, rng: np.random.Generator) -> Result:
    """Score every predictor on every transfer, with intervals over the target's chips and corrected tests."""
    matrix = selection.comparable
    if len(matrix.labels) < 2:
        raise DataError("transfer needs at least two configurations that compare; there is one")
    values = metrics(matrix)
    tables = {
        "sides": side_transfer(matrix, values, options, rng),
        "sides_shuffled": shuffled_transfer(matrix, options, rng),
        "devices": device_transfer(matrix, values, options, rng),
        "runtimes": matched_transfer(matrix, RUNTIME.column, options, rng),
        "precisions": matched_transfer(matrix, PRECISION.column, options, rng),
        "concordance": concordance(matrix, values, options, rng),
        "matrix_frm": device_matrix(matrix, values[FRM], options),
        "matrix_latency": device_matrix(matrix, values[LATENCY], options),
    }
    return Result(tables=tables, sentences=tuple(_sentences(tables, matrix)))


def side_transfer(
    matrix: ResultMatrix, values: dict[str, Floats], options: AnalysisOptions, rng: np.random.Generator
) -> pd.DataFrame:
    """Return one row per source side, target side, predictor and predicted metric.

    The source's mean ranking by `predictor` is correlated with the ranking on each configuration
    of the target: by the same metric (`itself`, as in the paper), by FRM and by latency, because a control
    is only valid for the same question. The interval resamples target chips; the source is fixed.
    """
    rows: list[dict[str, object]] = []
    for source, target in permutations(matrix.side_names, 2):
        source_rows, target_rows = np.flatnonzero(matrix.sides == source), np.flatnonzero(matrix.sides == target)
        questions = [(name, truth) for name in PREDICTORS for truth in (ITSELF, FRM, LATENCY) if name != truth]
        rho, tau, cells = [], [], []
        for name, predicted in questions:
            truth = values[name if predicted == ITSELF else predicted]
            ranking = mean_percent_ranks(values[name][source_rows])[None]
            rho.append(spearman(ranking, truth[target_rows], min_models=options.min_models)[0][0])
            tau.append(kendall_tau_b(ranking, truth[target_rows], min_models=options.min_models)[0])
            cells.append(_level_test(ranking[0], mean_percent_ranks(truth[target_rows]), options))
        columns = np.column_stack(rho)
        intervals = mean_intervals(
            columns, matrix.clusters[target_rows], rng=rng, bounds=CORRELATION, **options.bootstrap
        )
        for place, ((name, predicted), interval) in enumerate(zip(questions, intervals, strict=True)):
            rows.append(
                {"source": source, "target": target, "predictor": name, "predicts": predicted, "rho": interval.value}
                | interval_cells(interval)
                | {"sd": finite_sd(columns[:, place]), "tau_b": finite_mean(tau[place])}
                | {"targets": int(np.isfinite(columns[:, place]).sum()), **cells[place]}
            )
    table = pd.DataFrame(rows)
    return _corrected(table) if len(table) else table


def shuffled_transfer(matrix: ResultMatrix, options: AnalysisOptions, rng: np.random.Generator) -> pd.DataFrame:
    """Return the correlations that FRM with shuffled latency and memory still reaches, with mean and interval."""
    sample = matrix.select(control_sample(matrix, rng))
    truth = metrics(sample)
    directions = list(permutations(sample.side_names, 2))
    questions = [(source, target, predicted) for source, target in directions for predicted in (ITSELF, FRM, LATENCY)]
    repeats: list[list[float]] = []
    for values in shuffled_frm(sample, repeats=options.shuffles, rng=rng):
        rankings = {side: mean_percent_ranks(values[sample.sides == side])[None] for side in set(sample.sides)}
        repeats.append(
            [
                finite_mean(
                    spearman(
                        rankings[source],
                        (values if predicted == ITSELF else truth[predicted])[sample.sides == target],
                        min_models=options.min_models,
                    )[0]
                )
                for source, target, predicted in questions
            ]
        )
    columns = np.array(repeats).reshape(len(repeats), len(questions))
    rows = [
        {"source": source, "target": target, "predictor": SHUFFLED, "predicts": predicted}
        | spread_cells(columns[:, place], options.confidence)
        | {"repeats": len(repeats)}
        for place, (source, target, predicted) in enumerate(questions)
    ]
    return pd.DataFrame(rows)


def device_transfer(
    matrix: ResultMatrix, values: dict[str, Floats], options: AnalysisOptions, rng: np.random.Generator
) -> pd.DataFrame:
    """Return, for each device as the only source, how well it ranks the other chips of each side."""
    rows: list[dict[str, object]] = []
    for predictor, predicted in ((FRM, ITSELF), (LATENCY, ITSELF), (FRM, LATENCY), (FLOPS, LATENCY)):
        truth = values[predictor if predicted == ITSELF else predicted]
        rho, _ = spearman(values[predictor], truth, min_models=options.min_models)
        rho = np.where(matrix.units[:, None] != matrix.units[None, :], rho, np.nan)
        names, by_source = _mean_over_rows(rho, matrix.devices)
        for target in matrix.side_names:
            target_rows = matrix.sides == target
            intervals = mean_intervals(
                by_source[:, target_rows].T,
                matrix.clusters[target_rows],
                rng=rng,
                bounds=CORRELATION,
                **options.bootstrap,
            )
            for name, interval in zip(names, intervals, strict=True):
                if np.isfinite(interval.value):
                    rows.append(
                        {"source": name, "target": target, "predictor": predictor, "predicts": predicted}
                        | {"rho": interval.value, **interval_cells(interval)}
                    )
    return pd.DataFrame(rows, columns=["source", "target", "predictor", "predicts", "rho", "low", "high", "chips"])


def matched_transfer(
    matrix: ResultMatrix, axis: str, options: AnalysisOptions, rng: np.random.Generator
) -> pd.DataFrame:
    """Correlate configurations that differ only in `axis` (paper: framework invariance), by pair of levels."""
    values = metrics(matrix)
    rows: list[dict[str, object]] = [
        {axis: pair.level, "other": pair.other, "metric": name, "rho": interval.value, **interval_cells(interval)}
        | {"sd": finite_sd(pair.rho[:, place]), "pairs": int(np.isfinite(pair.rho[:, place]).sum())}
        for pair in level_pairs(matrix, axis, values, options, rng)
        for place, (name, interval) in enumerate(zip(values, pair.intervals, strict=True))
    ]
    return pd.DataFrame(rows, columns=[axis, "other", "metric", "rho", "low", "high", "chips", "sd", "pairs"])


def device_matrix(matrix: ResultMatrix, values: Floats, options: AnalysisOptions) -> pd.DataFrame:
    """Return the square matrix of mean rank correlations between devices, at most the 150 with the most benchmarks."""
    rho, _ = spearman(values, values, min_models=options.min_models)
    np.fill_diagonal(rho, np.nan)
    names, by_row = _mean_over_rows(rho, matrix.devices)
    _, square = _mean_over_rows(by_row.T, matrix.devices)
    counts = pd.Series(matrix.measured.sum(axis=1)).groupby(matrix.devices).sum().reindex(names)
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
    finite = np.isfinite(matrix)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean: Floats = (member @ np.where(finite, matrix, 0.0)) / (member @ finite)
    return unique.astype(object), mean


def _sentences(tables: dict[str, pd.DataFrame], matrix: ResultMatrix) -> list[str]:
    sides = tables["sides"]
    if sides.empty:
        sentences = [f"All configurations are on one side ({matrix.sides[0]}), so there is no transfer to another."]
    else:
        directions = dict.fromkeys(zip(sides["source"], sides["target"], strict=True))
        sentences = [_side_sentence(tables, source, target) for source, target in directions]
    return [*sentences, *(_matched_sentence(tables[name]) for name in ("runtimes", "precisions"))]


def _matched_sentence(table: pd.DataFrame) -> str:
    axis = table.columns[0]
    if table.empty:
        return f"No device was measured with two {axis}s and enough common models."
    rows = table[table["metric"] == FRM].dropna(subset=["rho"])
    if rows.empty:
        return f"The rank correlation of FRM between the {axis}s of a device is {NOT_AVAILABLE}."
    parts = [
        f"{rho:.3f} for {a} and {b} ({count(n, 'pair')})"
        for a, b, rho, n in zip(*(rows[c] for c in (axis, "other", "rho", "pairs")), strict=True)
    ]
    return f"Between {axis}s of the same device, the rank correlation ρ of FRM is {', '.join(parts)}."


def _side_sentence(tables: dict[str, pd.DataFrame], source: str, target: str) -> str:
    keys = ["source", "target", "predictor", "predicts"]
    rho = keyed(tables["sides"], keys, "rho") | keyed(tables["sides_shuffled"], keys, "mean")
    text = {(name, predicted): figure(rho[source, target, name, predicted]) for *_, name, predicted in rho}
    if not np.isfinite(rho[source, target, FRM, ITSELF]):
        return (
            f"{source} → {target}: the rank correlation ρ is {text[LATENCY, ITSELF]} for latency and {NOT_AVAILABLE} "
            f"for FRM. If FLOPs alone predict the target's latency ranks, it is {text[FLOPS, LATENCY]}."
        )
    return (
        f"{source} → {target}: the rank correlation ρ is {text[FRM, ITSELF]} for FRM and {text[LATENCY, ITSELF]} for "
        f"latency. If FLOPs alone predict the target's ranks, it is {text[FLOPS, FRM]} for FRM and "
        f"{text[FLOPS, LATENCY]} for latency. If shuffled FRM predicts FRM ranks, it is {text[SHUFFLED, FRM]}."
    )


TRANSFER = Analysis(
    name="transfer",
    question="Does a ranking measured here hold there?",
    paper="Table 4; 4.3, framework invariance",
    compute=compute,
    compares_sides=True,
)
