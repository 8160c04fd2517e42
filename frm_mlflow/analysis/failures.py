"""What fails when a frontier or an order is transferred: families, models and pairs (paper Table 8, 5.5)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations

import numpy as np
import pandas as pd

from frm_mlflow.analysis.arrays import Floats, Integers, Words, finite_mean
from frm_mlflow.analysis.bootstrap import SHARE, ClusterMeans
from frm_mlflow.analysis.controls import FRM, LATENCY, PREDICTORS, SHUFFLED, control_sample, metrics, shuffled_frm
from frm_mlflow.analysis.frontier_transfer import transferred
from frm_mlflow.analysis.matrix import ResultMatrix
from frm_mlflow.analysis.options import AnalysisOptions
from frm_mlflow.analysis.result import Analysis, Result, interval_cells, percent
from frm_mlflow.analysis.selection import Selection
from frm_mlflow.errors import DataError

_PAIRS_SHOWN = 200


def compute(selection: Selection, options: AnalysisOptions, rng: np.random.Generator) -> Result:
    """Return frontier failures by family and model, and the pairs of models whose order flipped and by how much."""
    matrix = selection.comparable
    sides = matrix.side_names
    if len(sides) < 2:
        raise DataError(f"failures of transfer need two tiers, runtimes or precisions; there is only {sides[0]}")
    values = metrics(matrix)
    tables = {"by_family": _by_group(matrix, values, matrix.families, "family", options, rng)}
    tables["by_model"] = _by_group(matrix, values, matrix.models, "model", options, rng)
    tables["controls"] = control_failures(matrix, values, options, rng)
    tables["flips"] = flipped_pairs(matrix, values)
    return Result(tables=tables, sentences=tuple(_sentences(tables)))


def frontier_failures(
    matrix: ResultMatrix,
    values: Floats,
    *,
    source: str,
    target: str,
    options: AnalysisOptions,
    objective: Floats | None = None,
) -> tuple[Floats, Floats]:
    """Return failures and cases, each (targets, M), counted over the source's configurations.

    A failure is a model that is on one of the two frontiers and not on the other. Pairs on the same chip do not count.
    `values` predict the frontier of `objective`, which defaults to `values`.
    """
    truth = values if objective is None else objective
    source_rows, target_rows = np.flatnonzero(matrix.sides == source), np.flatnonzero(matrix.sides == target)
    rows = np.concatenate([source_rows, target_rows])
    failures, cases = (np.zeros((target_rows.size, len(matrix.models))) for _ in range(2))
    units = matrix.units[rows]
    for part in transferred(values[rows], truth[rows], matrix.top1[rows], dominance=options.dominance):
        sources = np.arange(rows.size)[part.sources]
        block = np.flatnonzero(sources < source_rows.size)
        apart = units[sources[block]][:, None] != units[None, source_rows.size :]
        common = part.common[block, source_rows.size :]
        counted = common & (apart & (common.sum(axis=2) >= options.min_models))[:, :, None]
        wrong = part.predicted[block, source_rows.size :] ^ part.true[block, source_rows.size :]
        failures += (wrong & counted).sum(axis=0)
        cases += counted.sum(axis=0)
    return failures, cases


def control_failures(
    matrix: ResultMatrix, values: dict[str, Floats], options: AnalysisOptions, rng: np.random.Generator
) -> pd.DataFrame:
    """Return the failure rate of each family if another metric, or shuffled FRM, predicts the frontier.

    All are compared with the same true frontiers. `by_family` has FRM and latency with their intervals.
    """
    rows: list[dict[str, object]] = []
    for objective in (FRM, LATENCY):
        for predictor in PREDICTORS:
            rates = pooled_failure_rates(matrix, values[predictor], values[objective], options)
            rows += [_control_row(objective, predictor, family, rate) for family, rate in rates.items()]
    sample = matrix.select(control_sample(matrix, rng, per_side=40))
    truth = metrics(sample)
    drawn: dict[tuple[str, str], list[float]] = {}
    for mixed in shuffled_frm(sample, repeats=options.shuffles, rng=rng):
        for objective in (FRM, LATENCY):
            for family, rate in pooled_failure_rates(sample, mixed, truth[objective], options).items():
                drawn.setdefault((objective, family), []).append(rate)
    rows += [_control_row(goal, SHUFFLED, family, finite_mean(np.array(v))) for (goal, family), v in drawn.items()]
    return pd.DataFrame(rows, columns=["objective", "predictor", "family", "failure_rate"])


def _control_row(objective: str, predictor: str, family: str, rate: float) -> dict[str, object]:
    return {"objective": objective, "predictor": predictor, "family": family, "failure_rate": rate}


def pooled_failure_rates(
    matrix: ResultMatrix, predictor: Floats, objective: Floats, options: AnalysisOptions
) -> dict[str, float]:
    """Return each family's share of wrong frontier memberships over all pairs of sides."""
    wrong, cases = np.zeros(len(matrix.models)), np.zeros(len(matrix.models))
    for source, target in permutations(matrix.side_names, 2):
        counts = frontier_failures(
            matrix, predictor, source=source, target=target, options=options, objective=objective
        )
        wrong, cases = wrong + counts[0].sum(axis=0), cases + counts[1].sum(axis=0)
    families = matrix.families
    sums = {name: (wrong[families == name].sum(), cases[families == name].sum()) for name in sorted(set(families))}
    return {str(name): float(part / whole) if whole else float("nan") for name, (part, whole) in sums.items()}


def flipped_pairs(matrix: ResultMatrix, values: dict[str, Floats]) -> pd.DataFrame:
    """Return the pairs of models whose mean order on the source is reversed on the target, most often flipped first.

    `factor_there` is the median ratio on the target by which the seemingly cheaper model is more expensive, if it is.
    """
    tables = [
        _flips(matrix, values[metric], metric, source, target)
        for metric in (FRM, LATENCY)
        for source, target in permutations(matrix.side_names, 2)
    ]
    return pd.concat(tables, ignore_index=True)


def _by_group(
    matrix: ResultMatrix,
    values: dict[str, Floats],
    names: Sequence[str] | Words,
    column: str,
    options: AnalysisOptions,
    rng: np.random.Generator,
) -> pd.DataFrame:
    unique, code = np.unique(np.asarray(names, dtype=str), return_inverse=True)
    member = (code[:, None] == np.arange(unique.size)[None, :]).astype(np.float64)
    rows: list[dict[str, object]] = []
    for objective in (FRM, LATENCY):
        for source, target in permutations(matrix.side_names, 2):
            both = frontier_failures(matrix, values[objective], source=source, target=target, options=options)
            failures, cases = (counts @ member for counts in both)
            rates = ClusterMeans.of_sums(failures, cases, matrix.clusters[matrix.sides == target])
            groups = rates.intervals(rng=rng, bounds=SHARE, **options.bootstrap)
            rows += [
                {"objective": objective, "source": source, "target": target, column: str(name)}
                | {"failure_rate": interval.value, **interval_cells(interval), "cases": int(cases[:, place].sum())}
                for place, (name, interval) in enumerate(zip(unique, groups, strict=True))
            ]
    return pd.DataFrame(rows)


def _flips(matrix: ResultMatrix, values: Floats, metric: str, source: str, target: str) -> pd.DataFrame:
    on_source, on_target = (np.log(values[matrix.sides == side]) for side in (source, target))
    expected = _mean_log(on_source)
    one, other = np.triu_indices(expected.size, 1)
    gap = expected[one] - expected[other]
    flipped, compared = _count_flips(on_target, one, other, gap)
    share = flipped / np.maximum(compared, 1)
    worst = np.argsort(-share, kind="stable")[: min(_PAIRS_SHOWN, int((flipped > 0).sum()))]
    first = np.where(gap[worst] < 0, one[worst], other[worst])
    second = np.where(gap[worst] < 0, other[worst], one[worst])
    names, families = (np.asarray(v, dtype=object) for v in (matrix.models, matrix.families))
    return pd.DataFrame(
        {
            "metric": metric,
            "source": source,
            "target": target,
            "looked_cheaper": names[first],
            "family": families[first],
            "is_cheaper": names[second],
            "other_family": families[second],
            "flipped": share[worst],
            "configurations": compared[worst],
            "factor_here": np.exp(np.abs(gap[worst])),
            "factor_there": _median_factor(on_target, first, second),
        }
    )


def _count_flips(on_target: Floats, one: Integers, other: Integers, gap: Floats) -> tuple[Integers, Integers]:
    flipped, compared = (np.zeros(one.size, dtype=np.int64) for _ in range(2))
    for row in on_target:
        difference = row[one] - row[other]
        finite = np.isfinite(difference) & np.isfinite(gap)
        compared += finite
        flipped += finite & (np.sign(difference) * np.sign(gap) < 0)
    return flipped, compared


def _median_factor(on_target: Floats, first: Integers, second: Integers) -> Floats:
    more_expensive = on_target[:, first] - on_target[:, second]
    reversed_only = np.where(more_expensive > 0, more_expensive, np.nan)
    return np.exp(np.nanmedian(reversed_only, axis=0)) if reversed_only.size else np.empty(0)


def _mean_log(values: Floats) -> Floats:
    """Return each model's mean over the rows, after subtracting from each row the mean of its known values."""
    finite = np.isfinite(values)
    n = finite.sum(axis=0)
    centre = np.where(finite, values, 0.0).sum(axis=1, keepdims=True) / np.maximum(finite.sum(axis=1, keepdims=True), 1)
    centred = np.where(finite, values - centre, 0.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(n > 0, centred.sum(axis=0) / n, np.nan)


def _sentences(tables: dict[str, pd.DataFrame]) -> list[str]:
    sentences = []
    for objective, name in ((FRM, "FRM"), (LATENCY, "latency")):
        rows = tables["by_family"][tables["by_family"]["objective"] == objective].dropna(subset=["failure_rate"])
        rates = rows.groupby("family")["failure_rate"].mean().sort_values(ascending=False)
        if len(rates):
            sentences.append(
                f"Transferred frontiers of accuracy and {name} are wrong most often for {rates.index[0]} models "
                f"({percent(float(rates.iloc[0]))} of cases) and least often for {rates.index[-1]} models "
                f"({percent(float(rates.iloc[-1]))})."
            )
    flips = tables["flips"][tables["flips"]["metric"] == LATENCY]
    for worst in flips.sort_values("flipped", ascending=False, kind="stable").head(1).to_dict("records"):
        sentences.append(
            f"{worst['looked_cheaper']} is {worst['factor_here']:.2f}× faster than {worst['is_cheaper']} on "
            f"{worst['source']}, but slower on {percent(worst['flipped'])} of {worst['target']} configurations, by "
            f"{worst['factor_there']:.2f}× (median)."
        )
    return sentences or ["Every frontier and every order of two models transferred without a failure."]


FAILURES = Analysis(
    name="failures",
    question="For which families, models and pairs do transferred results fail?",
    paper="Table 8; 5.5",
    compute=compute,
    compares_sides=True,
)
