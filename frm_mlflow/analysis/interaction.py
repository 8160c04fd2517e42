"""Hardware x model: whether a model's latency ratio is another one on another tier (paper Table 6, 4.5)."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pandas as pd

from frm_mlflow.analysis.arrays import Floats, Words
from frm_mlflow.analysis.bootstrap import ClusterMeans, Interval, intervals
from frm_mlflow.analysis.fleet import Fleet
from frm_mlflow.analysis.options import AnalysisOptions
from frm_mlflow.analysis.result import Analysis, Result, interval_cells, percent
from frm_mlflow.analysis.selection import Selection
from frm_mlflow.analysis.significance import bonferroni, holm, mann_whitney
from frm_mlflow.errors import DataError

UNITS: tuple[str, ...] = ("row", "chip")
"""What counts as one observation: every configuration, as in the paper, or a chip's median."""


def compute(selection: Selection, options: AnalysisOptions, rng: np.random.Generator) -> Result:
    """Test every model's latency ratio between each pair of sides, by rows and by chips."""
    fleet = selection.comparable
    sides = sorted(set(fleet.sides))
    if len(sides) < 2:
        raise DataError(f"interaction needs two tiers, runtimes or precisions; there is only {sides[0]}")
    if set(fleet.models) <= {fleet.baseline}:
        raise DataError(f"interaction needs a model beside the baseline {fleet.baseline}")
    tests = pd.concat([model_tests(fleet, unit, options, rng) for unit in UNITS], ignore_index=True)
    tables = {"tests": tests, "share": significant_share(tests, options), "within_side": within_side(fleet)}
    return Result(tables=tables, sentences=tuple(_sentences(tables, options)))


def model_tests(fleet: Fleet, unit: str, options: AnalysisOptions, rng: np.random.Generator) -> pd.DataFrame:
    """Return one row a pair of sides and model: median ratios, difference, Mann-Whitney, effect size, corrections.

    `delta` is (a - b) / a of the median ratios, as in Table 6. `effect` is the factor between the
    sides' geometric means with an interval over chips. `can_be_significant` says whether samples of
    these sizes could reach the level at all after Holm's correction.
    """
    ratio = fleet.ratios()["latency"]
    values, sides, chips = (ratio, fleet.sides, fleet.chips) if unit == "row" else chip_medians(fleet, ratio)
    found: list[pd.DataFrame] = []
    for one, other in combinations(sorted(set(sides)), 2):
        a, b = sides == one, sides == other
        effects = _effects(np.log(values), chips, a, b, options, rng)
        rows = [
            _row(model, family, values[a, place], values[b, place], effects[place])
            for place, (model, family) in enumerate(zip(fleet.models, fleet.families, strict=True))
            if model != fleet.baseline
        ]
        table = pd.DataFrame(rows).assign(side=one, other=other, unit=unit)
        tests = int(np.isfinite(table["p"]).sum())
        reachable = table["smallest_p"] * max(tests, 1) <= options.alpha
        found.append(
            table.assign(p_bonferroni=bonferroni(table["p"]), p_holm=holm(table["p"]), can_be_significant=reachable)
        )
    first = ["unit", "side", "other"]
    table = pd.concat(found, ignore_index=True)
    return table[first + [name for name in table.columns if name not in first]]


def chip_medians(fleet: Fleet, values: Floats) -> tuple[Floats, Words, Words]:
    """Return the median of each model over a chip's configurations, with the chips' sides and names."""
    medians = pd.DataFrame(values).groupby([fleet.sides, fleet.chips], sort=True).median()
    sides, chips = (medians.index.get_level_values(level).to_numpy(dtype=object) for level in (0, 1))
    return medians.to_numpy(dtype=np.float64), sides, chips


def significant_share(tests: pd.DataFrame, options: AnalysisOptions) -> pd.DataFrame:
    """Return the share of models with a significant difference, by what counts as one observation and correction."""
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


def within_side(fleet: Fleet) -> pd.DataFrame:
    """Return, for each side, the mean over models of the latency ratio's coefficient of variation."""
    ratio = pd.DataFrame(fleet.ratios()["latency"], columns=list(fleet.models)).drop(
        columns=[fleet.baseline], errors="ignore"
    )
    rows = []
    for side in sorted(set(fleet.sides)):
        inside = ratio[fleet.sides == side]
        cv = inside.std(ddof=1) / inside.mean()
        rows.append(
            {
                "side": side,
                "configurations": len(inside),
                "chips": len(set(fleet.chips[fleet.sides == side])),
                "cv": cv.mean(),
            }
        )
    return pd.DataFrame(rows)


def _row(model: str, family: str, a: Floats, b: Floats, effect: Interval) -> dict[str, object]:
    test = mann_whitney(a, b)
    medians = [float(np.nanmedian(v)) if np.isfinite(v).any() else float("nan") for v in (a, b)]
    return {
        "model": model,
        "family": family,
        "ratio": medians[0],
        "ratio_other": medians[1],
        "delta": (medians[0] - medians[1]) / medians[0],
        "effect": effect.estimate,
        **interval_cells(effect),
        "n": test.n_a,
        "n_other": test.n_b,
        "u": test.u,
        "cliffs_delta": test.cliffs_delta,
        "p": test.p,
        "smallest_p": test.smallest_p,
    }


def _effects(
    log_ratio: Floats,
    chips: Words,
    a: np.ndarray[tuple[int], np.dtype[np.bool_]],
    b: np.ndarray[tuple[int], np.dtype[np.bool_]],
    options: AnalysisOptions,
    rng: np.random.Generator,
) -> list[Interval]:
    """Return exp(mean log ratio in a - in b) of each model, chips drawn within each side."""
    parts = [ClusterMeans.of(log_ratio[mask], chips[mask]) for mask in (a, b)]
    drawn = [part.resampled(options.resamples, rng) for part in parts]
    estimate = parts[0].mean - parts[1].mean
    jackknife = np.vstack([parts[0].left_one_out - parts[1].mean, parts[0].mean - parts[1].left_one_out])
    clusters = np.min([part.n_clusters for part in parts], axis=0)
    found = intervals(estimate, drawn[0] - drawn[1], jackknife, n_clusters=clusters, confidence=options.confidence)
    return [
        Interval(
            estimate=float(np.exp(i.estimate)),
            low=float(np.exp(i.low)),
            high=float(np.exp(i.high)),
            n_clusters=i.n_clusters,
            method=i.method,
        )
        for i in found
    ]


def _sentences(tables: dict[str, pd.DataFrame], options: AnalysisOptions) -> list[str]:
    share = tables["share"]
    chips = share[share["unit"] == "chip"].set_index(["side", "other"])
    found = []
    for row in share[share["unit"] == "row"].to_dict("records"):
        chip = chips.loc[(row["side"], row["other"])]
        found.append(
            f"{row['side']} against {row['other']}: {percent(row['significant_uncorrected'])} of {row['models']} "
            "models differ significantly if every configuration counts as independent "
            f"({percent(row['significant_holm'])} after Holm's correction), {percent(float(chip['significant_holm']))} "
            f"if a chip counts once; with so many chips {percent(float(chip['can_be_significant']))} of them could "
            f"reach p < {options.alpha:g} at all. The median ratio differs by {percent(row['mean_absolute_delta'])} "
            "of itself on average."
        )
    return found


INTERACTION = Analysis(
    name="interaction",
    question="Is a model's latency ratio another one on another kind of hardware?",
    paper="Table 6; 4.5",
    compute=compute,
    compares_sides=True,
)
