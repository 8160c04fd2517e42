"""Pareto frontiers of every configuration, and scores of transferred ones (paper eq. 5, Algorithm 1, Table 7)."""

from __future__ import annotations

from itertools import product

import numpy as np
import pandas as pd

from frm_mlflow.analysis.arrays import Floats, Integers, finite_mean
from frm_mlflow.analysis.bootstrap import SHARE, mean_intervals, pair_mean_interval
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
from frm_mlflow.analysis.frontier_transfer import Scores, score_pairs
from frm_mlflow.analysis.matrix import ResultMatrix
from frm_mlflow.analysis.options import AnalysisOptions
from frm_mlflow.analysis.pareto import hypervolume
from frm_mlflow.analysis.ranking import configuration_frontiers
from frm_mlflow.analysis.result import Analysis, Result, figure, interval_cells, keyed, spread_cells
from frm_mlflow.analysis.selection import Selection
from frm_mlflow.errors import DataError

PAPER_IMAGES = 1000
"""Number of images on which the paper measures accuracy (4.1)."""
_HALF_WIDTHS_PER_SD = 1.96
OBJECTIVES: tuple[str, ...] = (FRM, LATENCY)
"""Costs whose accuracy frontier is predicted: the paper's, and the one that a user with a latency budget needs."""


def compute(selection: Selection, options: AnalysisOptions, rng: np.random.Generator) -> Result:
    """Return each configuration's frontiers, and precision, recall, F1, hypervolume and regret of transferred ones."""
    matrix = selection.comparable
    values = metrics(matrix)
    if not (np.isfinite(matrix.top1) & matrix.measured).any():
        raise DataError("no benchmark has an accuracy, and a frontier of accuracy needs it: log accuracy/top1")
    scored = {pair: _scores(matrix, values, *pair, options) for pair in product(PREDICTORS, OBJECTIVES)}
    tables = {
        "frontiers": frontier_table(matrix, values, options),
        "sides": side_scores(matrix, scored, options, rng),
        "sources": source_scores(matrix, scored, options, rng),
        "shuffled": shuffled_scores(matrix, options, rng),
        "accuracy_error": accuracy_error(matrix, options, rng),
    }
    return Result(tables=tables, sentences=tuple(_sentences(tables)))


def frontier_table(matrix: ResultMatrix, values: dict[str, Floats], options: AnalysisOptions) -> pd.DataFrame:
    """Return the models on each configuration's frontier, and the area that the frontier covers in log cost."""
    rows: list[dict[str, object]] = []
    for objective in OBJECTIVES:
        masks = configuration_frontiers(values[objective], matrix.top1, options)
        for place, (label, mask) in enumerate(zip(matrix.labels, masks, strict=True)):
            cost, top1 = values[objective][place], matrix.top1[place]
            finite = np.isfinite(cost) & np.isfinite(top1)
            if finite.sum() < 2:
                continue
            reference = (float(np.log(cost[finite]).max()), float(top1[finite].min()))
            best = [matrix.models[index] for index in np.flatnonzero(mask)[np.argsort(cost[mask], kind="stable")]]
            rows.append(
                {
                    "configuration": label,
                    "tier": matrix.tiers[place],
                    "objective": objective,
                    "models": int(finite.sum()),
                }
                | {"on_frontier": len(best), "hypervolume": hypervolume(np.log(cost), top1, reference=reference)}
                | {"frontier": ", ".join(best)}
            )
    return pd.DataFrame(rows)


def side_scores(
    matrix: ResultMatrix, scored: dict[tuple[str, str], Scores], options: AnalysisOptions, rng: np.random.Generator
) -> pd.DataFrame:
    """Return mean scores by source side, target side, predictor and objective; pairs on one chip are left out."""
    rows: list[dict[str, object]] = []
    for source, target in product(matrix.side_names, repeat=2):
        source_rows, target_rows = np.flatnonzero(matrix.sides == source), np.flatnonzero(matrix.sides == target)
        apart = matrix.units[source_rows][:, None] != matrix.units[target_rows][None, :]
        if not apart.any():
            continue
        block = np.ix_(source_rows, target_rows)
        f1 = pair_mean_interval(
            [scores.f1[block] for scores in scored.values()],
            matrix.clusters[source_rows],
            matrix.clusters[target_rows],
            apart=apart,
            rng=rng,
            bounds=SHARE,
            **options.bootstrap,
        )
        for ((predictor, objective), scores), interval in zip(scored.items(), f1, strict=True):
            names = ("precision", "recall", "failure", "hypervolume", "regret")
            means = {name: finite_mean(getattr(scores, name)[block][apart]) for name in names}
            label: dict[str, object] = {"source": source, "target": target}
            rows.append(
                label
                | {"objective": objective, "predictor": predictor}
                | {"f1": interval.value, **interval_cells(interval), **means}
                | {"pairs": int(np.isfinite(scores.f1[block][apart]).sum())}
            )
    keys = ["source", "target", "objective", "predictor"]
    return pd.DataFrame(rows) if rows else pd.DataFrame(columns=[*keys, "f1", "low", "high"])


def source_scores(
    matrix: ResultMatrix, scored: dict[tuple[str, str], Scores], options: AnalysisOptions, rng: np.random.Generator
) -> pd.DataFrame:
    """Return the paper's Table 7: each configuration as the only source, scored on the other chips of every tier."""
    apart = matrix.units[:, None] != matrix.units[None, :]
    rows: list[dict[str, object]] = []
    for (predictor, objective), target in product(((FRM, FRM), (LATENCY, LATENCY)), matrix.side_names):
        target_rows = matrix.sides == target
        scores = scored[predictor, objective]
        f1, precision, recall = (
            np.where(apart, v, np.nan)[:, target_rows] for v in (scores.f1, scores.precision, scores.recall)
        )
        intervals = mean_intervals(f1.T, matrix.clusters[target_rows], rng=rng, bounds=SHARE, **options.bootstrap)
        for place, interval in enumerate(intervals):
            if np.isfinite(interval.value):
                rows.append(
                    {"source": matrix.labels[place], "source_side": matrix.sides[place], "target": target}
                    | {
                        "objective": objective,
                        "precision": finite_mean(precision[place]),
                        "recall": finite_mean(recall[place]),
                    }
                    | {"f1": interval.value, **interval_cells(interval)}
                )
    return pd.DataFrame(rows)


def shuffled_scores(matrix: ResultMatrix, options: AnalysisOptions, rng: np.random.Generator) -> pd.DataFrame:
    """Return the scores of frontiers predicted by shuffled FRM, with mean and interval over repeats."""
    sample = matrix.select(control_sample(matrix, rng, per_side=40))
    truth = metrics(sample)
    apart = sample.units[:, None] != sample.units[None, :]
    directions = []
    for source, target in product(sample.side_names, repeat=2):
        mask = apart & (sample.sides == source)[:, None] & (sample.sides == target)[None, :]
        if mask.any():
            directions.append((source, target, mask))
    repeats: list[list[float]] = []
    for values in shuffled_frm(sample, repeats=options.shuffles, rng=rng):
        cells = truth | {SHUFFLED: values}
        f1 = {goal: _scores(sample, cells, SHUFFLED, goal, options, economics=False).f1 for goal in OBJECTIVES}
        repeats.append([finite_mean(f1[goal][mask]) for goal in OBJECTIVES for _, _, mask in directions])
    columns = np.array(repeats)
    questions = [(objective, source, target) for objective in OBJECTIVES for source, target, _ in directions]
    rows = [
        {"source": source, "target": target, "objective": objective, "predictor": SHUFFLED}
        | spread_cells(columns[:, place], options.confidence)
        | {"repeats": len(repeats)}
        for place, (objective, source, target) in enumerate(questions)
    ]
    return pd.DataFrame(rows, columns=["source", "target", "objective", "predictor", "mean", "low", "high", "repeats"])


def accuracy_error(matrix: ResultMatrix, options: AnalysisOptions, rng: np.random.Generator) -> pd.DataFrame:
    """Return the F1 of a frontier under the sampling error of accuracy alone, with mean and interval over draws.

    Each configuration's frontier is compared with itself after the accuracies are redrawn, one draw per model:
    with the error of the paper's 1,000 images, and with the intervals recorded in the runs.
    """
    sample = matrix.select(control_sample(matrix, rng, per_side=40))
    truth = metrics(sample)
    share = np.clip(sample.top1, 0, 100)
    errors = {
        f"{PAPER_IMAGES:,} images, as in the paper": np.sqrt(share * (100 - share) / PAPER_IMAGES),
        "intervals of the runs": np.nan_to_num(sample.top1_half_width) / _HALF_WIDTHS_PER_SD,
    }
    rows: list[dict[str, object]] = []
    for name, sd in errors.items():
        if not (sd > 0).any():
            continue
        for objective in OBJECTIVES:
            f1 = _redrawn_f1(truth[objective], sample.top1, sd, sample.draw_order()[1], options, rng)
            rows.append(
                {"error": name, "objective": objective, **spread_cells(f1, options.confidence), "repeats": f1.size}
            )
    return pd.DataFrame(rows, columns=["error", "objective", "mean", "low", "high", "repeats"])


def _redrawn_f1(
    cost: Floats, top1: Floats, sd: Floats, order: Integers, options: AnalysisOptions, rng: np.random.Generator
) -> Floats:
    true = configuration_frontiers(cost, top1, options)
    repeats = []
    for _ in range(options.shuffles):
        draw = np.empty(top1.shape[1])
        draw[order] = rng.standard_normal(top1.shape[1])
        drawn = configuration_frontiers(cost, top1 + draw * sd, options)
        sizes = drawn.sum(axis=1) + true.sum(axis=1)
        with np.errstate(invalid="ignore", divide="ignore"):
            repeats.append(finite_mean(2 * (drawn & true).sum(axis=1) / sizes))
    return np.array(repeats)


def _scores(
    matrix: ResultMatrix,
    values: dict[str, Floats],
    predictor: str,
    objective: str,
    options: AnalysisOptions,
    *,
    economics: bool = True,
) -> Scores:
    return score_pairs(
        values[predictor],
        values[objective],
        matrix.top1,
        dominance=options.dominance,
        min_models=options.min_models,
        economics=economics,
    )


def _sentences(tables: dict[str, pd.DataFrame]) -> list[str]:
    keys = ["source", "target", "objective", "predictor"]
    f1 = keyed(tables["sides"], keys, "f1") | keyed(tables["shuffled"], keys, "mean")
    sentences = []
    for source, target in dict.fromkeys(key[:2] for key in f1):
        value = {key[2:]: number for key, number in f1.items() if key[:2] == (source, target)}
        if np.isfinite(value[LATENCY, LATENCY]):
            text = {key: figure(number) for key, number in value.items()}
            sentences.append(
                f"{source} → {target}: for the frontier of accuracy and FRM, the F1 of Algorithm 1 is {text[FRM, FRM]} "
                f"(FLOPs alone: {text[FRM, FLOPS]}, shuffled FRM: {text[FRM, SHUFFLED]}). For the frontier of accuracy "
                f"and latency it is {text[LATENCY, FRM]} (FLOPs alone: {text[LATENCY, FLOPS]}, the source's latency: "
                f"{text[LATENCY, LATENCY]})."
            )
    sentences += _error_sentences(tables["accuracy_error"])
    return sentences or ["No frontier was transferred: no two chips share enough models with an accuracy."]


def _error_sentences(table: pd.DataFrame) -> list[str]:
    rows = table[table["objective"] == FRM].dropna(subset=["mean"]).to_dict("records")
    return [
        f"If only the sampling error of accuracy changes ({row['error']}), the F1 of a frontier of accuracy and FRM "
        f"against itself is {row['mean']:.3f} ({row['low']:.3f} to {row['high']:.3f})."
        for row in rows
    ]


PARETO = Analysis(
    name="pareto",
    question="Which models are on the frontier of each device, and does that set hold on another device?",
    paper="eq. 5, Algorithm 1, Table 7",
    compute=compute,
    compares_sides=True,
)
