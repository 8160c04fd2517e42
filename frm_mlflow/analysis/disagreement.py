"""Where FLOPs mislead: ranks by FLOPs against ranks by FRM, latency and memory (paper 4.2, Tables 1 to 3)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import binomtest

from frm_mlflow.analysis.arrays import Floats, Mask, known_mean
from frm_mlflow.analysis.bootstrap import SHARE, mean_interval
from frm_mlflow.analysis.controls import FLOPS, FRM, LATENCY, MEMORY, SHUFFLED, control_sample, metrics, shuffled_frm
from frm_mlflow.analysis.fleet import Fleet
from frm_mlflow.analysis.options import AnalysisOptions
from frm_mlflow.analysis.ranks import ranks, row_spearman
from frm_mlflow.analysis.result import Analysis, Result, interval_cells, keyed, percent
from frm_mlflow.analysis.selection import Selection
from frm_mlflow.analysis.significance import mann_whitney
from frm_mlflow.errors import DataError


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Shift:
    """Rank by FLOPs minus rank by `metric`: positive if FLOPs make a model look more expensive than it is."""

    metric: str
    by_flops: Floats
    by_metric: Floats
    threshold: int

    @property
    def ranks(self) -> Floats:
        """Ranks gained (positive: promoted by the metric), NaN if either rank is missing."""
        return self.by_flops - self.by_metric

    @property
    def cases(self) -> Mask:
        """Mask of the cells whose two ranks differ by at least `threshold`."""
        return np.nan_to_num(np.abs(self.ranks)) >= self.threshold


def compute(selection: Selection, options: AnalysisOptions, rng: np.random.Generator) -> Result:
    """Count disagreements by metric, tier, family and model, with their direction and tests."""
    fleet = selection.fleet
    shifts = {name: rank_shift(fleet, name, threshold=options.threshold) for name in (FRM, LATENCY, MEMORY)}
    if not np.isfinite(shifts[FRM].ranks).any():
        raise DataError("no benchmark has both FLOPs and FRM: log compute/gmacs and memory/peak_mib as well")
    summary = pd.DataFrame([summarise(fleet, shift, options, rng) for shift in shifts.values()])
    frm = shifts[FRM]
    groups = {"tier": np.repeat(fleet.tiers[:, None], len(fleet.models), axis=1)}
    groups["family"] = np.repeat(np.asarray(fleet.families, dtype=object)[None], len(fleet.labels), axis=0)
    groups["model"] = np.repeat(np.asarray(fleet.models, dtype=object)[None], len(fleet.labels), axis=0)
    tables = {"summary": summary, "shuffled": shuffled_summary(fleet, options, rng), "cases": case_table(fleet, frm)}
    tables |= {f"by_{name}": grouped(frm, labels, name) for name, labels in groups.items()}
    tables["tests"] = promoted_against_penalised(fleet, frm)
    return Result(tables=tables, sentences=tuple(_sentences(tables, options)))


def shuffled_summary(fleet: Fleet, options: AnalysisOptions, rng: np.random.Generator) -> pd.DataFrame:
    """Return the disagreements of FLOPs with shuffled FRM, averaged over repeats; a large fleet is sampled."""
    sample = fleet.select(control_sample(fleet, rng))
    flops = metrics(sample)[FLOPS]
    found = []
    for values in shuffled_frm(sample, repeats=options.shuffles, rng=rng):
        both = np.isfinite(flops) & np.isfinite(values)
        by_flops, by_metric = (ranks(np.where(both, v, np.nan)) for v in (flops, values))
        shift = Shift(metric=SHUFFLED, by_flops=by_flops, by_metric=by_metric, threshold=options.threshold)
        rho = row_spearman(by_flops, by_metric, min_models=options.min_models)
        cases, known = shift.cases, np.isfinite(shift.ranks)
        found.append((cases.sum() / max(1, known.sum()), known_mean(rho)))
    share, rho_mean = (known_mean(column) for column in np.array(found).T)
    return pd.DataFrame([{"metric": SHUFFLED, "threshold": options.threshold, "share": share, "rho": rho_mean}])


def rank_shift(fleet: Fleet, metric: str, *, threshold: int) -> Shift:
    """Rank the models of each configuration by FLOPs and by `metric`, over those that have both."""
    values = metrics(fleet)
    both = np.isfinite(values[FLOPS]) & np.isfinite(values[metric])
    by_flops, by_metric = (ranks(np.where(both, values[name], np.nan)) for name in (FLOPS, metric))
    return Shift(metric=metric, by_flops=by_flops, by_metric=by_metric, threshold=threshold)


def summarise(fleet: Fleet, shift: Shift, options: AnalysisOptions, rng: np.random.Generator) -> dict[str, object]:
    """Return the numbers of the paper's Table 1 for one metric; the interval of the share resamples chips."""
    known, cases = np.isfinite(shift.ranks), shift.cases
    compared = known.sum(axis=1) > 1
    promoted = int((cases & (shift.ranks > 0)).sum())
    total = int(cases.sum())
    rows, _ = np.nonzero(known)
    share = mean_interval(
        cases[known],
        fleet.clusters[rows],
        rng=rng,
        resamples=options.resamples,
        confidence=options.confidence,
        bounds=SHARE,
    )
    rho = row_spearman(shift.by_flops, shift.by_metric, min_models=options.min_models)
    balance = binomtest(promoted, total).pvalue if total else float("nan")
    return {
        "metric": shift.metric,
        "threshold": shift.threshold,
        "benchmarks": int(known.sum()),
        "cases": total,
        "share": share.estimate,
        **interval_cells(share),
        "configurations": int(compared.sum()),
        "affected": int((cases.any(axis=1) & compared).sum()),
        "cases_per_configuration": total / max(1, int(compared.sum())),
        "rho": float(np.nanmean(rho)) if np.isfinite(rho).any() else float("nan"),
        "promoted": promoted,
        "penalised": total - promoted,
        "balance_p": float(balance),
    }


def case_table(fleet: Fleet, shift: Shift) -> pd.DataFrame:
    """Return every disagreement with its configuration, model and both ranks, largest first."""
    row, column = np.nonzero(shift.cases)
    gained = shift.ranks[row, column]
    table = pd.DataFrame(
        {
            "configuration": np.asarray(fleet.labels, dtype=object)[row],
            "tier": fleet.tiers[row],
            "model": np.asarray(fleet.models, dtype=object)[column],
            "family": np.asarray(fleet.families, dtype=object)[column],
            "rank_by_flops": shift.by_flops[row, column],
            f"rank_by_{shift.metric}": shift.by_metric[row, column],
            "ranks_gained": gained,
        }
    )
    return table.iloc[np.argsort(-np.abs(gained), kind="stable")].reset_index(drop=True)


def grouped(shift: Shift, labels: np.ndarray[tuple[int, int], np.dtype[np.object_]], name: str) -> pd.DataFrame:
    """Return the cases by group: their number, their share of the group and of all cases, and their direction."""
    known, cases = np.isfinite(shift.ranks), shift.cases
    table = pd.DataFrame(
        {
            name: labels[known],
            "case": cases[known],
            "promoted": (cases & (shift.ranks > 0))[known],
            "gain": shift.ranks[known],
        }
    )
    counts = table.groupby(name, sort=True).agg(
        benchmarks=("case", "size"),
        cases=("case", "sum"),
        promoted=("promoted", "sum"),
        mean_ranks_gained=("gain", "mean"),
    )
    counts["share_of_group"] = counts["cases"] / counts["benchmarks"]
    counts["share_of_cases"] = counts["cases"] / max(1, int(cases.sum()))
    return counts.sort_values("cases", ascending=False, kind="stable").reset_index()


def promoted_against_penalised(fleet: Fleet, shift: Shift) -> pd.DataFrame:
    """Compare latency and memory ratios of promoted and penalised cases (paper 4.2.3).

    Once with every case as a row, as in the paper, and once with one row per model (its median),
    because the cases of one model are the same finding on many devices.
    """
    ratios = fleet.ratios()
    rows = []
    for component in ("latency", "memory"):
        for unit in ("case", "model"):
            groups = [shift.cases & (shift.ranks > 0), shift.cases & (shift.ranks < 0)]
            samples = [_sample(ratios[component], group, unit) for group in groups]
            test = mann_whitney(*samples)
            rows.append(
                {"ratio": component, "unit": unit, "promoted": test.n_a, "penalised": test.n_b, "u": test.u}
                | {
                    "largest_u": test.largest_u,
                    "p": test.p,
                    "smallest_p": test.smallest_p,
                    "cliffs_delta": test.cliffs_delta,
                }
            )
    return pd.DataFrame(rows)


def _sample(values: Floats, group: Mask, unit: str) -> Floats:
    if unit == "case":
        return values[group]
    cells = np.where(group, values, np.nan)
    known = np.isfinite(cells).any(axis=0)
    return np.nanmedian(cells[:, known], axis=0) if known.any() else np.empty(0)


def _sentences(tables: dict[str, pd.DataFrame], options: AnalysisOptions) -> list[str]:
    first = tables["summary"].iloc[0]
    found = [
        f"FLOPs and FRM lie at least {options.threshold} ranks apart in {first['cases']} of {first['benchmarks']} "
        f"benchmarks ({percent(first['share'])}), on {first['affected']} of {first['configurations']} configurations; "
        f"their mean rank correlation is {first['rho']:.3f}."
    ]
    by_model = tables["by_model"]
    if first["cases"]:
        top = by_model.head(2)
        found.append(
            f"{' and '.join(top['model'])} are {percent(float(top['share_of_cases'].sum()))} of the cases; "
            f"{int((by_model['cases'] > 0).sum())} models have any. A model's cases on many devices are one finding."
        )
        found.append(
            f"{first['promoted']} cases promote a model and {first['penalised']} penalise one. "
            "Ranks are a zero-sum, so a balance near one half is expected and shows nothing."
        )
    share = keyed(tables["summary"], ["metric"], "share") | keyed(tables["shuffled"], ["metric"], "share")
    found.append(
        f"Against latency alone the share is {percent(share[LATENCY,])}, against memory {percent(share[MEMORY,])}, "
        f"against shuffled FRM {percent(share[SHUFFLED,])}: FRM contains FLOPs and agrees with them the more for it."
    )
    return found


DISAGREEMENT = Analysis(
    name="disagreement",
    question="Where do FLOPs rank models otherwise than what was measured?",
    paper="Tables 1, 2, 3; 4.2.3",
    compute=compute,
)
