"""Where FLOPs mislead: ranks by FLOPs against ranks by FRM, latency and memory (paper 4.2, Tables 1 to 3)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import binomtest

from frm_mlflow.analysis.arrays import Floats, Mask, finite_mean
from frm_mlflow.analysis.bootstrap import SHARE, mean_interval
from frm_mlflow.analysis.controls import FLOPS, FRM, LATENCY, MEMORY, SHUFFLED, control_sample, metrics, shuffled_frm
from frm_mlflow.analysis.matrix import ResultMatrix
from frm_mlflow.analysis.options import AnalysisOptions
from frm_mlflow.analysis.ranks import ranks, row_spearman
from frm_mlflow.analysis.result import Analysis, Result, count, figure, interval_cells, keyed, percent
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
    matrix = selection.matrix
    shifts = {name: rank_shift(matrix, name, threshold=options.threshold) for name in (FRM, LATENCY, MEMORY)}
    if not np.isfinite(shifts[FRM].ranks).any():
        raise DataError("no benchmark has both FLOPs and FRM: log compute/gmacs and memory/peak_mib as well")
    summary = pd.DataFrame([summarise(matrix, shift, options, rng) for shift in shifts.values()])
    frm = shifts[FRM]
    groups = {"tier": np.repeat(matrix.tiers[:, None], len(matrix.models), axis=1)}
    groups["family"] = np.repeat(matrix.families[None], len(matrix.labels), axis=0)
    groups["model"] = np.repeat(np.asarray(matrix.models, dtype=object)[None], len(matrix.labels), axis=0)
    tables = {"summary": summary, "shuffled": shuffled_summary(matrix, options, rng), "cases": case_table(matrix, frm)}
    tables |= {f"by_{name}": grouped(frm, labels, name) for name, labels in groups.items()}
    tables["tests"] = promoted_against_penalised(matrix, frm)
    return Result(tables=tables, sentences=tuple(_sentences(tables, options)))


def shuffled_summary(matrix: ResultMatrix, options: AnalysisOptions, rng: np.random.Generator) -> pd.DataFrame:
    """Return the disagreements of FLOPs with shuffled FRM, averaged over repeats; a large matrix is sampled."""
    sample = matrix.select(control_sample(matrix, rng))
    flops = metrics(sample)[FLOPS]
    repeats = []
    for values in shuffled_frm(sample, repeats=options.shuffles, rng=rng):
        both = np.isfinite(flops) & np.isfinite(values)
        by_flops, by_metric = (ranks(np.where(both, v, np.nan)) for v in (flops, values))
        shift = Shift(metric=SHUFFLED, by_flops=by_flops, by_metric=by_metric, threshold=options.threshold)
        rho = row_spearman(by_flops, by_metric, min_models=options.min_models)
        cases, finite = shift.cases, np.isfinite(shift.ranks)
        repeats.append((cases.sum() / max(1, finite.sum()), finite_mean(rho)))
    share, rho_mean = (finite_mean(column) for column in np.array(repeats).T)
    return pd.DataFrame([{"metric": SHUFFLED, "threshold": options.threshold, "share": share, "rho": rho_mean}])


def rank_shift(matrix: ResultMatrix, metric: str, *, threshold: int) -> Shift:
    """Rank the models of each configuration by FLOPs and by `metric`, over those that have both."""
    values = metrics(matrix)
    both = np.isfinite(values[FLOPS]) & np.isfinite(values[metric])
    by_flops, by_metric = (ranks(np.where(both, values[name], np.nan)) for name in (FLOPS, metric))
    return Shift(metric=metric, by_flops=by_flops, by_metric=by_metric, threshold=threshold)


def summarise(
    matrix: ResultMatrix, shift: Shift, options: AnalysisOptions, rng: np.random.Generator
) -> dict[str, object]:
    """Return the numbers of the paper's Table 1 for one metric; the interval of the share resamples chips."""
    finite, cases = np.isfinite(shift.ranks), shift.cases
    compared = finite.sum(axis=1) > 1
    promoted = int((cases & (shift.ranks > 0)).sum())
    total = int(cases.sum())
    rows, _ = np.nonzero(finite)
    share = mean_interval(cases[finite], matrix.clusters[rows], rng=rng, bounds=SHARE, **options.bootstrap)
    rho = row_spearman(shift.by_flops, shift.by_metric, min_models=options.min_models)
    balance = binomtest(promoted, total).pvalue if total else float("nan")
    return {
        "metric": shift.metric,
        "threshold": shift.threshold,
        "benchmarks": int(finite.sum()),
        "cases": total,
        "share": share.value,
        **interval_cells(share),
        "configurations": int(compared.sum()),
        "affected": int((cases.any(axis=1) & compared).sum()),
        "cases_per_configuration": total / max(1, int(compared.sum())),
        "rho": float(np.nanmean(rho)) if np.isfinite(rho).any() else float("nan"),
        "promoted": promoted,
        "penalised": total - promoted,
        "balance_p": float(balance),
    }


def case_table(matrix: ResultMatrix, shift: Shift) -> pd.DataFrame:
    """Return every disagreement with its configuration, model and both ranks, largest first."""
    row, column = np.nonzero(shift.cases)
    gained = shift.ranks[row, column]
    table = pd.DataFrame(
        {
            "configuration": np.asarray(matrix.labels, dtype=object)[row],
            "tier": matrix.tiers[row],
            "model": np.asarray(matrix.models, dtype=object)[column],
            "family": matrix.families[column],
            "rank_by_flops": shift.by_flops[row, column],
            f"rank_by_{shift.metric}": shift.by_metric[row, column],
            "ranks_gained": gained,
        }
    )
    return table.iloc[np.argsort(-np.abs(gained), kind="stable")].reset_index(drop=True)


def grouped(shift: Shift, labels: np.ndarray[tuple[int, int], np.dtype[np.object_]], name: str) -> pd.DataFrame:
    """Return the cases by group: their number, their share of the group and of all cases, and their direction."""
    finite, cases = np.isfinite(shift.ranks), shift.cases
    table = pd.DataFrame(
        {
            name: labels[finite],
            "case": cases[finite],
            "promoted": (cases & (shift.ranks > 0))[finite],
            "gain": shift.ranks[finite],
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


def promoted_against_penalised(matrix: ResultMatrix, shift: Shift) -> pd.DataFrame:
    """Compare latency and memory ratios of promoted and penalised cases (paper 4.2.3).

    Once with every case as a row, as in the paper, and once with one row per model (its median),
    because the cases of one model are the same finding on many devices.
    """
    ratios = matrix.ratios()
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
    finite = np.isfinite(cells).any(axis=0)
    return np.nanmedian(cells[:, finite], axis=0) if finite.any() else np.empty(0)


def _sentences(tables: dict[str, pd.DataFrame], options: AnalysisOptions) -> list[str]:
    first = tables["summary"].iloc[0]
    sentences = [
        f"FLOPs and FRM differ by at least {options.threshold} ranks in {first['cases']} of {first['benchmarks']} "
        f"benchmarks ({percent(first['share'])}), on {first['affected']} of {first['configurations']} configurations. "
        f"Their mean rank correlation is {figure(first['rho'])}."
    ]
    by_model = tables["by_model"]
    if first["cases"]:
        top = by_model.head(2)
        sentences.append(
            f"{' and '.join(top['model'])} account for {percent(float(top['share_of_cases'].sum()))} of these cases, "
            f"and {count(int((by_model['cases'] > 0).sum()), 'model')} for all. Cases of one model on many devices are "
            "a single finding."
        )
        sentences.append(
            f"FRM ranks the model better than FLOPs do in {first['promoted']} cases and worse in {first['penalised']}. "
            "One model's gain is another's loss, so a balance near one half is expected and shows nothing."
        )
    share = keyed(tables["summary"], ["metric"], "share") | keyed(tables["shuffled"], ["metric"], "share")
    sentences.append(
        f"The share of such cases is {percent(share[LATENCY,])} for latency alone, {percent(share[MEMORY,])} for "
        f"memory alone and {percent(share[SHUFFLED,])} for shuffled FRM. "
        "FRM contains FLOPs, so it agrees with them more."
    )
    return sentences


DISAGREEMENT = Analysis(
    name="disagreement",
    question="For which models do ranks by FLOPs differ from ranks by measured metrics?",
    paper="Tables 1, 2, 3; 4.2.3",
    compute=compute,
)
