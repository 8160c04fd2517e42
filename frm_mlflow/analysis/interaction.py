"""Hardware x model: whether a model's latency ratio differs between tiers (paper Table 6, 4.5)."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import numpy as np
import pandas as pd

from frm_mlflow.analysis.arrays import Floats, Words
from frm_mlflow.analysis.bootstrap import ChipInterval, ClusterMeans, intervals, mean_intervals
from frm_mlflow.analysis.matrix import ResultMatrix
from frm_mlflow.analysis.options import AnalysisOptions
from frm_mlflow.analysis.result import Analysis, Result, count, interval_cells, percent
from frm_mlflow.analysis.rows import KEY_COLUMNS
from frm_mlflow.analysis.selection import Selection
from frm_mlflow.analysis.significance import bonferroni, holm, mann_whitney, signed_ranks
from frm_mlflow.errors import DataError
from frm_mlflow.schema import PRECISION, RUNTIME, RUNTIME_VERSION

UNITS: tuple[str, ...] = ("row", "chip")
"""Unit of observation: every configuration, as in the paper, or the median of a chip."""


def compute(selection: Selection, options: AnalysisOptions, rng: np.random.Generator) -> Result:
    """Test every model's latency ratio between each pair of sides, by rows and by chips."""
    matrix = selection.comparable.select(selection.comparable.has_baseline)
    sides = matrix.side_names
    if len(sides) < 2:
        raise DataError(f"interaction needs two tiers, runtimes or precisions; there is only {sides[0]}")
    if set(matrix.models) <= {matrix.baseline}:
        raise DataError(f"interaction needs a model other than the baseline {matrix.baseline}")
    tests = pd.concat([model_tests(matrix, unit, options, rng) for unit in UNITS], ignore_index=True)
    tables = {"tests": tests, "share": significant_share(tests, options), "within_side": within_side(matrix)}
    return Result(tables=tables, sentences=tuple(_sentences(tables, options)))


def model_tests(matrix: ResultMatrix, unit: str, options: AnalysisOptions, rng: np.random.Generator) -> pd.DataFrame:
    """Return one row per pair of sides and model: median ratios, difference, test, effect size, corrections.

    The test is Mann-Whitney's, as in the paper. If at least half of the observations are on both sides (runtimes or
    precisions of the same chips), it is Wilcoxon's signed-rank test on those only. In that case `paired` is true and
    `u` is the sum of the positive ranks.

    `delta` is (a - b) / a of the median ratios; a comes first in the order gpu, cpu, edge, as in Table 6.
    `effect` is the ratio of the sides' geometric means, with an interval over chips. `can_be_significant` is true
    if samples of these sizes could reach the significance level at all after Holm's correction.
    """
    observed = observations(matrix, matrix.ratios()["latency"], unit)
    results: list[pd.DataFrame] = []
    for one, other in combinations(matrix.side_names, 2):
        a, b, paired = _samples(observed, one, other)
        effects = (_paired_effects if paired else _effects)(a, b, options, rng)
        rows = [
            _row(model, family, a[place].to_numpy(), b[place].to_numpy(), effects[place], paired=paired)
            for place, (model, family) in enumerate(zip(matrix.models, matrix.families, strict=True))
            if model != matrix.baseline
        ]
        table = pd.DataFrame(rows).assign(side=one, other=other, unit=unit, paired=paired)
        tests = int(np.isfinite(table["p"]).sum())
        reachable = table["smallest_p"] * max(tests, 1) <= options.alpha
        results.append(
            table.assign(p_bonferroni=bonferroni(table["p"]), p_holm=holm(table["p"]), can_be_significant=reachable)
        )
    first = ["unit", "side", "other"]
    table = pd.concat(results, ignore_index=True)
    return table[first + [name for name in table.columns if name not in first]]


def observations(matrix: ResultMatrix, values: Floats, unit: str) -> pd.DataFrame:
    """Return each model's median per observation, indexed by side, chip and configuration.

    A configuration is named by everything except its side, so the same chip in two runtimes is matched across sides.
    With chips as observations the name is empty.
    """
    names = _configurations(matrix) if unit == "row" else np.full(len(matrix.chips), "", dtype=object)
    return pd.DataFrame(values).groupby([matrix.sides, matrix.clusters, names], sort=True).median()


def _configurations(matrix: ResultMatrix) -> Words:
    """Return the name of each configuration without the columns that define its side."""
    table = matrix.configurations
    axis = next((tag for tag in (RUNTIME, PRECISION) if (table[tag.column] == matrix.sides).all()), None)
    aside = {None: (), RUNTIME: (RUNTIME.column, RUNTIME_VERSION.column), PRECISION: (PRECISION.column,)}[axis]
    kept = table[[name for name in KEY_COLUMNS if name not in aside]].astype(str)
    return kept.agg("\t".join, axis=1).to_numpy(dtype=object)


def _samples(observed: pd.DataFrame, one: str, other: str) -> tuple[pd.DataFrame, pd.DataFrame, bool]:
    """Return the observations of two sides; if at least half of them are on both, only those, in the same order."""
    a, b = (pd.DataFrame(observed.xs(side, level=0)) for side in (one, other))
    shared = a.index.intersection(b.index)
    if 2 * len(shared) < min(len(a), len(b)):
        return a, b, False
    return a.reindex(shared), b.reindex(shared), True


def significant_share(tests: pd.DataFrame, options: AnalysisOptions) -> pd.DataFrame:
    """Return the share of models with a significant difference, by unit of observation and correction."""
    rows = []
    for (unit, side, other), group in tests.groupby(["unit", "side", "other"], sort=False):
        tested = group.dropna(subset=["p"])
        shares = {
            f"significant_{name}": float((tested[column] < options.alpha).mean()) if len(tested) else float("nan")
            for name, column in (("uncorrected", "p"), ("bonferroni", "p_bonferroni"), ("holm", "p_holm"))
        }
        rows.append(
            {"unit": unit, "side": side, "other": other, "models": len(tested), **shares}
            | {"can_be_significant": float(tested["can_be_significant"].mean()) if len(tested) else float("nan")}
            | {"mean_absolute_delta": float(tested["delta"].abs().mean())}
        )
    return pd.DataFrame(rows)


def within_side(matrix: ResultMatrix) -> pd.DataFrame:
    """Return, for each side, the mean over models of the latency ratio's coefficient of variation."""
    ratio = pd.DataFrame(matrix.ratios()["latency"], columns=list(matrix.models)).drop(
        columns=[matrix.baseline], errors="ignore"
    )
    rows = []
    for side in matrix.side_names:
        inside = ratio[matrix.sides == side]
        cv = inside.std(ddof=1) / inside.mean()
        rows.append(
            {
                "side": side,
                "configurations": len(inside),
                "chips": len(set(matrix.clusters[matrix.sides == side])),
                "cv": cv.mean(),
            }
        )
    return pd.DataFrame(rows)


def _row(model: str, family: str, a: Floats, b: Floats, effect: ChipInterval, *, paired: bool) -> dict[str, object]:
    medians = [float(np.nanmedian(v)) if np.isfinite(v).any() else float("nan") for v in (a, b)]
    return {
        "model": model,
        "family": family,
        "ratio": medians[0],
        "ratio_other": medians[1],
        "delta": (medians[0] - medians[1]) / medians[0],
        "effect": effect.value,
        **interval_cells(effect),
        **(_test_of_pairs(a, b) if paired else _test_of_samples(a, b)),
    }


def _test_of_samples(a: Floats, b: Floats) -> dict[str, float]:
    test = mann_whitney(a, b)
    sizes = {"n": test.n_a, "n_other": test.n_b, "u": test.u}
    return sizes | {"cliffs_delta": test.cliffs_delta, "p": test.p, "smallest_p": test.smallest_p}


def _test_of_pairs(a: Floats, b: Floats) -> dict[str, float]:
    test = signed_ranks(np.log(a), np.log(b))
    sizes = {"n": test.n, "n_other": test.n, "u": test.statistic}
    return sizes | {"cliffs_delta": test.share_above, "p": test.p, "smallest_p": test.smallest_p}


def _paired_effects(
    a: pd.DataFrame, b: pd.DataFrame, options: AnalysisOptions, rng: np.random.Generator
) -> list[ChipInterval]:
    """Return exp(mean log ratio of a over b) of each model; a resampled chip keeps both of its sides."""
    difference = np.log(a.to_numpy()) - np.log(b.to_numpy())
    chips = a.index.get_level_values(0)
    results = mean_intervals(difference, chips, rng=rng, **options.bootstrap)
    return [_exponential(interval) for interval in results]


def _effects(
    a: pd.DataFrame, b: pd.DataFrame, options: AnalysisOptions, rng: np.random.Generator
) -> list[ChipInterval]:
    """Return exp(mean log ratio in a - in b) of each model, resampling chips within each side."""
    parts = [ClusterMeans.of(np.log(side.to_numpy()), side.index.get_level_values(0)) for side in (a, b)]
    drawn = [part.resampled(options.resamples, rng) for part in parts]
    results = intervals(
        parts[0].mean - parts[1].mean,
        drawn[0] - drawn[1],
        [part.left_one_out for part in parts],
        n_clusters=np.min([part.n_clusters for part in parts], axis=0),
        effective_clusters=np.min([part.effective_clusters for part in parts], axis=0),
        confidence=options.confidence,
    )
    return [_exponential(interval) for interval in results]


def _exponential(interval: ChipInterval) -> ChipInterval:
    estimate, low, high = (float(np.exp(end)) for end in (interval.value, interval.low, interval.high))
    return replace(interval, value=estimate, low=low, high=high)


def _sentences(tables: dict[str, pd.DataFrame], options: AnalysisOptions) -> list[str]:
    share = tables["share"]
    chips = share[share["unit"] == "chip"].set_index(["side", "other"])
    sentences = []
    for row in share[share["unit"] == "row"].to_dict("records"):
        chip = chips.loc[(row["side"], row["other"])]
        sentences.append(
            f"{row['side']} and {row['other']}: the latency ratio differs significantly for "
            f"{percent(row['significant_uncorrected'])} of {count(row['models'], 'model')} if every configuration "
            f"counts as independent ({percent(row['significant_holm'])} after Holm's correction), and for "
            f"{percent(float(chip['significant_holm']))} if each chip counts once. With this number of chips, "
            f"{percent(float(chip['can_be_significant']))} of the models could reach p < {options.alpha:g} at all. "
            f"On average, the median ratio differs by {percent(row['mean_absolute_delta'])}."
        )
    return sentences


INTERACTION = Analysis(
    name="interaction",
    question="Does a model's latency ratio depend on the kind of hardware?",
    paper="Table 6; 4.5",
    compute=compute,
    compares_sides=True,
)
