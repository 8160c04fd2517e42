"""The paper's tables with its rows, columns and names, and its figures next to ours (Tables 1-9, Algorithm 1, 5.4, 6).

Only the paper's 13 models count, so that ranks are comparable. If the data has no such device or model, the
cell is empty and counted. A column that ends in `(paper)` has the value printed in the paper, and one that ends in
`(ours)` the value from the benchmarks. A column `X ±` is the standard deviation of `X`, and `X to` the upper end of
a range.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from frm_mlflow.analysis import paper_figures as printed
from frm_mlflow.analysis.arrays import Floats, Mask, column_medians, finite_mean, finite_sd
from frm_mlflow.analysis.controls import (
    ACCURACY,
    FLOPS,
    FRM,
    LATENCY,
    MEMORY,
    PARAMS,
    control_sample,
    metrics,
    shuffled_frm,
)
from frm_mlflow.analysis.cost import runs_saved
from frm_mlflow.analysis.disagreement import rank_shift
from frm_mlflow.analysis.facts import FLOAT_PRECISIONS
from frm_mlflow.analysis.failures import pooled_failure_rates
from frm_mlflow.analysis.frontier_transfer import Scores, score_pairs
from frm_mlflow.analysis.interaction import observations
from frm_mlflow.analysis.matched import matched_pairs
from frm_mlflow.analysis.matrix import SIDE, UNIT, ResultMatrix
from frm_mlflow.analysis.options import AnalysisOptions
from frm_mlflow.analysis.pareto import Dominance, frontier, score
from frm_mlflow.analysis.ranks import mean_percent_ranks, pairs, ranks, row_spearman, spearman
from frm_mlflow.analysis.result import Analysis, Result
from frm_mlflow.analysis.selection import Selection
from frm_mlflow.analysis.significance import mann_whitney
from frm_mlflow.analysis.stability import coefficient_of_variation, different_chips
from frm_mlflow.errors import DataError
from frm_mlflow.schema import PRECISION, RUNTIME

NAN = float("nan")
PAPER, OURS = "(paper)", "(ours)"
TIER_NAMES = {"gpu": "GPU", "cpu": "CPU", "edge": "Edge"}
_MIB_PER_MILLION_FLOATS = 4e6 / 2**20

Row = dict[str, object]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Case:
    """Configurations of the reference and the target of Algorithm 1 and section 6; None if the data has none.

    `is_papers` is true for each that is the paper's device, and false for a substitute.
    """

    reference: int | None
    target: int | None
    is_papers: tuple[bool, bool]


def compute(selection: Selection, options: AnalysisOptions, rng: np.random.Generator) -> Result:
    """Return the paper's tables, and how many of their figures the data can reproduce."""
    everything = _by_tier(selection.comparable)
    matrix = everything.only_models(np.isin(everything.models, list(printed.MODELS)))
    if matrix.measured.any(axis=0).sum() < 2:
        raise DataError(
            "paper needs at least two of the paper's models: run `frm-mlflow bench models=paper`, or import published "
            "results with `frm-mlflow ingest source=aihub`"
        )
    values = metrics(matrix)
    noise = list(shuffled_frm(matrix, repeats=options.shuffles, rng=rng)) if len(matrix.labels) <= _SMALL else []
    sample = matrix if noise else matrix.select(control_sample(matrix, rng, per_side=40))
    noise = noise or list(shuffled_frm(sample, repeats=options.shuffles, rng=rng))
    case = _case(everything, options)
    tables = {
        "table_1": disagreements(matrix, sample, noise, options),
        **{key: study_table(matrix, study, options) for key, study in printed.STUDIES.items()},
        "table_4": transfers(matrix, values, sample, noise, options),
        "table_4_frameworks": frameworks(matrix, values, options),
        "table_5": stability_table(matrix, values, sample, noise, options),
        "table_6": interaction_table(matrix),
        "table_6_summary": interaction_summary(matrix, options),
        "table_7": frontier_scores(matrix, values, sample, noise, options),
        "table_8": failure_rates(matrix, values, sample, noise, options),
        "table_9": architectures(matrix),
        "algorithm_1": algorithm_1(everything, case, options),
        "section_5_4": cost_table(selection, matrix, options),
        "section_6": candidates(everything, case, options),
        "section_6_picks": picks(everything, case, options),
    }
    tables["coverage"] = coverage(tables)
    return Result(tables=tables, sentences=tuple(_sentences(tables, matrix, everything, case)))


_SMALL = 400
"""Maximum number of configurations for which the shuffled control uses all of them."""


def _by_tier(matrix: ResultMatrix) -> ResultMatrix:
    """Return the matrix with tiers as sides and chips as units, regardless of the substitutes used elsewhere."""
    return replace(matrix, configurations=matrix.configurations.assign(**{SIDE: matrix.tiers, UNIT: matrix.chips}))


def disagreements(
    matrix: ResultMatrix, sample: ResultMatrix, noise: Sequence[Floats], options: AnalysisOptions
) -> pd.DataFrame:
    """Return Table 1 and the distribution by tier of 4.2, also with single metrics and shuffled FRM in place of FRM."""
    shifts = {name: rank_shift(matrix, name, threshold=options.threshold).ranks for name in (FRM, LATENCY, MEMORY)}
    flops = metrics(sample)[FLOPS]
    mixed = [_rank_gap(flops, values) for values in noise]
    columns: dict[str, dict[str, float]] = {
        f"FRM {OURS}": _disagreement(shifts[FRM], matrix.tiers, options),
        "Latency only": _disagreement(shifts[LATENCY], matrix.tiers, options),
        "Memory only": _disagreement(shifts[MEMORY], matrix.tiers, options),
        "Shuffled FRM": _mean_of(_disagreement(gap, sample.tiers, options) for gap in mixed),
    }
    if len(sample.labels) < len(matrix.labels):
        columns["Shuffled FRM"]["total"] = NAN
    rows = [
        ("total", "Total disagreements", 774.0, "Cases where rank differs by ≥ 2"),
        ("affected", "Affected configurations (%)", 95.8, "342/357 device groups"),
        ("per_group", "Mean disagreements/group", 2.17, "Systematic, not isolated"),
        ("rho", "FRM-FLOPs correlation (ρ)", 0.901, "10% independent signal"),
        ("edge", "Edge devices (% of cases)", 74.8, "579 cases, most deployment-critical"),
        ("gpu", "GPU devices (% of cases)", 21.7, "168 cases"),
        ("cpu", "CPU devices (% of cases)", 3.5, "27 cases"),
    ]
    return pd.DataFrame(
        [
            {"Metric": name, f"FRM {PAPER}": figure, **{head: cells[key] for head, cells in columns.items()}}
            | {"Interpretation in the paper": words}
            for key, name, figure, words in rows
        ]
    )


def _rank_gap(flops: Floats, values: Floats) -> Floats:
    both = np.isfinite(flops) & np.isfinite(values)
    by_flops, by_values = (ranks(np.where(both, v, np.nan)) for v in (flops, values))
    return by_flops - by_values


def _disagreement(
    gap: Floats, tiers: np.ndarray[tuple[int], np.dtype[np.object_]], options: AnalysisOptions
) -> dict[str, float]:
    finite = np.isfinite(gap)
    cases = finite & (np.abs(np.nan_to_num(gap)) >= options.threshold)
    groups = finite.sum(axis=1) > 1
    total, count = int(cases.sum()), int(groups.sum())
    n = finite.sum(axis=1)
    squares = np.where(finite, gap, 0.0) ** 2
    with np.errstate(invalid="ignore", divide="ignore"):
        rho = np.where(n >= options.min_models, 1 - 6 * squares.sum(axis=1) / (n * (n**2 - 1)), np.nan)
    shares = {tier: 100 * cases[tiers == tier].sum() / total if total else NAN for tier in TIER_NAMES}
    shares = {tier: share if finite[tiers == tier].any() else NAN for tier, share in shares.items()}
    affected = 100 * (cases.any(axis=1) & groups).sum() / count if count else NAN
    return {"total": float(total) if finite.any() else NAN, "affected": float(affected)} | {
        "per_group": total / count if count else NAN,
        "rho": finite_mean(rho),
        **{tier: float(share) for tier, share in shares.items()},
    }


def study_table(matrix: ResultMatrix, study: printed.Study, options: AnalysisOptions) -> pd.DataFrame:
    """Return Table 2 or 3: one model's FLOPs, ratios and ranks. Ratios are medians over a tier's configurations."""
    place = matrix.models.index(study.model) if study.model in matrix.models else None

    def of(values: Floats) -> float:
        return NAN if place is None else float(values[place])

    ratios = matrix.ratios()
    by_tier = {tier: column_medians(ratios["latency"][matrix.tiers == tier]) for tier in TIER_NAMES}
    memory = [of(column_medians(ratios["memory"][matrix.tiers == tier])) for tier in TIER_NAMES]
    finite = [value for value in memory if np.isfinite(value)]
    gap = rank_shift(matrix, FRM, threshold=options.threshold)
    cases = NAN if place is None else float(gap.cases[:, place].sum())
    every = float(gap.cases.sum())
    gmacs = column_medians(matrix.gmacs)
    rows: list[tuple[str, float, float, float, float, float, float]] = [
        ("FLOPs (G)", study.gflops, NAN, study.flops_rank, of(gmacs), NAN, of(ranks(gmacs))),
        ("FLOPs ratio", study.ratios["flops"], NAN, NAN, of(column_medians(ratios["flops"])), NAN, NAN),
        ("Latency ratio (GPU)", study.ratios["gpu"], NAN, NAN, of(by_tier["gpu"]), NAN, NAN),
        ("Latency ratio (CPU)", NAN, NAN, NAN, of(by_tier["cpu"]), NAN, NAN),
        ("Latency ratio (Edge)", study.ratios["edge"], NAN, NAN, of(by_tier["edge"]), NAN, NAN),
        ("Memory ratio", *study.memory, NAN, min(finite, default=NAN), max(finite, default=NAN), NAN),
        ("FRM rank", NAN, NAN, study.frm_rank, NAN, NAN, of(ranks(mean_percent_ranks(matrix.frm_order())))),
        ("Latency rank", NAN, NAN, NAN, NAN, NAN, of(ranks(mean_percent_ranks(metrics(matrix)[LATENCY])))),
        ("Memory rank", NAN, NAN, NAN, NAN, NAN, of(ranks(mean_percent_ranks(metrics(matrix)[MEMORY])))),
        ("Disagreement cases", study.cases, NAN, NAN, cases, NAN, NAN),
        ("Share of all cases (%)", study.share, NAN, NAN, 100 * cases / every if every else NAN, NAN, NAN),
    ]
    heads = [f"{name} {side}" for side in (PAPER, OURS) for name in ("Value", "Value to", "Rank")]
    return pd.DataFrame(rows, columns=["Metric", *heads])


def transfers(
    matrix: ResultMatrix,
    values: dict[str, Floats],
    sample: ResultMatrix,
    noise: Sequence[Floats],
    options: AnalysisOptions,
) -> pd.DataFrame:
    """Return Table 4: the source tier's mean ranking compared with each configuration of the target tier."""
    rows: list[Row] = []
    others = [(a, b) for a in TIER_NAMES for b in TIER_NAMES if a != b and (a, b) not in printed.TRANSFERS]
    for source, target in [*printed.TRANSFERS, *others]:
        figures = printed.TRANSFERS.get((source, target), (NAN,) * 5)
        here, there = matrix.tiers == source, matrix.tiers == target
        rho = {name: _carried(values[name][here], values[name][there], options) for name in (FRM, LATENCY, MEMORY)}
        by_flops = _carried(values[FLOPS][here], values[FRM][there], options)
        from_, to = sample.tiers == source, sample.tiers == target
        truth = metrics(sample)[FRM]
        mixed = [finite_mean(_carried(v[from_], truth[to], options)) for v in noise]
        if (source, target) in others and not rho[FRM].size:
            continue
        rows.append(
            {"Transfer": f"{TIER_NAMES[source]} → {TIER_NAMES[target]}"}
            | _transfer_cells(figures, PAPER)
            | _transfer_cells(_spread(rho[FRM]) + _spread(rho[LATENCY]), OURS)
            | {"Memory ρ": finite_mean(rho[MEMORY]), "FLOPs → FRM ρ": finite_mean(by_flops)}
            | {"Shuffled FRM → FRM ρ": finite_mean(np.array(mixed)), "Targets": int(np.isfinite(rho[FRM]).sum())}
        )
    table = pd.DataFrame(rows)
    return pd.concat([table, _overall(table)], ignore_index=True)


def _overall(table: pd.DataFrame) -> pd.DataFrame:
    """Return the row of means over the paper's four transfers."""
    ours = table.head(len(printed.TRANSFERS)).select_dtypes("number").mean()
    figures = (float(ours[f"FRM ρ {OURS}"]), NAN, float(ours[f"Latency ρ {OURS}"]), NAN)
    row = {"Transfer": "Overall", **_transfer_cells(printed.TRANSFER_OVERALL, PAPER), **_transfer_cells(figures, OURS)}
    controls = ("Memory ρ", "FLOPs → FRM ρ", "Shuffled FRM → FRM ρ")
    return pd.DataFrame(
        [row | {name: float(ours[name]) for name in controls} | {"Targets": int(table["Targets"].sum())}]
    )


def _transfer_cells(figures: Sequence[float], side: str) -> Row:
    frm, frm_sd, latency, latency_sd, *improvement = figures
    gain = improvement[0] if improvement else 100 * (frm / latency - 1) if latency > 0 else NAN
    return {
        f"FRM ρ {side}": frm,
        f"FRM ρ ± {side}": frm_sd,
        f"Latency ρ {side}": latency,
        f"Latency ρ ± {side}": latency_sd,
        f"Improvement (%) {side}": gain,
    }


def _carried(here: Floats, there: Floats, options: AnalysisOptions) -> Floats:
    if not len(here) or not len(there):
        return np.empty(0)
    carried: Floats = spearman(mean_percent_ranks(here)[None], there, min_models=options.min_models)[0][0]
    return carried


def _spread(values: Floats) -> tuple[float, float]:
    return finite_mean(values), finite_sd(values)


def frameworks(matrix: ResultMatrix, values: dict[str, Floats], options: AnalysisOptions) -> pd.DataFrame:
    """Return the framework invariance of 4.3: FRM ranks of the same device under two runtimes."""
    matched = matched_pairs(matrix.configurations, RUNTIME.column)
    rho = {
        n: row_spearman(values[n][matched.a], values[n][matched.b], min_models=options.min_models)
        for n in (FRM, LATENCY)
    }
    rows: list[Row] = []
    for name, (one, other, figure) in printed.FRAMEWORKS.items():
        a, b = matched.level_a, matched.level_b
        wanted = (np.isin(a, one) & np.isin(b, other)) | (np.isin(a, other) & np.isin(b, one))
        rows.append(
            {"Frameworks": name, f"FRM ρ {PAPER}": figure, f"FRM ρ {OURS}": finite_mean(rho[FRM][wanted])}
            | {"Latency ρ": finite_mean(rho[LATENCY][wanted]), "Pairs": int(np.isfinite(rho[FRM][wanted]).sum())}
        )
    table = pd.DataFrame(rows)
    overall = {"Frameworks": "Overall", f"FRM ρ {PAPER}": printed.FRAMEWORKS_OVERALL}
    means = {name: finite_mean(table[name].to_numpy(dtype=np.float64)) for name in (f"FRM ρ {OURS}", "Latency ρ")}
    return pd.concat([table, pd.DataFrame([overall | means | {"Pairs": int(table["Pairs"].sum())}])], ignore_index=True)


def stability_table(
    matrix: ResultMatrix,
    values: dict[str, Floats],
    sample: ResultMatrix,
    noise: Sequence[Floats],
    options: AnalysisOptions,
) -> pd.DataFrame:
    """Return Table 5: rank correlation between configurations on different chips, and CV over configurations."""
    apart, apart_here = different_chips(matrix), different_chips(sample)
    ranked = values | {ACCURACY: np.where(matrix.measured, matrix.top1, np.nan)}
    spread = ranked | {FRM: matrix.frm()}
    names = {FRM: "FRM", LATENCY: "Latency", MEMORY: "Memory", ACCURACY: "Accuracy"}
    names |= {FLOPS: "FLOPs only (control)", PARAMS: "Parameters only (control)"}
    rows: list[Row] = []
    for metric, name in names.items():
        rho = pairs(spearman(ranked[metric], ranked[metric], min_models=options.min_models)[0], apart)
        cells = (*_spread(rho), finite_mean(coefficient_of_variation(spread[metric])))
        rows.append(_stability_cells(name, printed.STABILITY.get(metric, (NAN,) * 3), cells))
    mixed = [finite_mean(pairs(spearman(v, v, min_models=options.min_models)[0], apart_here)) for v in noise]
    rows.append(_stability_cells("Shuffled FRM (control)", (NAN,) * 3, (finite_mean(np.array(mixed)), NAN, NAN)))
    table = pd.DataFrame(rows)
    base = table[[f"CV {PAPER}", f"CV {OURS}"]].iloc[0]
    for side in (PAPER, OURS):
        table[f"CV over FRM's {side}"] = table[f"CV {side}"] / base[f"CV {side}"]
    return table


def _stability_cells(name: str, paper: Sequence[float], ours: Sequence[float]) -> Row:
    heads = ("Rank stability (ρ)", "Rank stability (ρ) ±", "CV")
    cells = {f"{head} {PAPER}": value for head, value in zip(heads, paper, strict=True)}
    return {"Metric": name, **cells, **{f"{head} {OURS}": value for head, value in zip(heads, ours, strict=True)}}


def interaction_table(matrix: ResultMatrix) -> pd.DataFrame:
    """Return Table 6: median latency ratios by tier, and the gain on the edge as a share of the GPU's ratio."""
    ratio = matrix.ratios()["latency"]
    medians = {tier: column_medians(ratio[matrix.tiers == tier]) for tier in TIER_NAMES}
    rows: list[Row] = []
    for model, (name, gpu, edge, delta) in printed.INTERACTION.items():
        at = {
            tier: float(v[matrix.models.index(model)]) if model in matrix.models else NAN for tier, v in medians.items()
        }
        rows.append(
            {"Model": name, f"GPU {PAPER}": gpu, f"Edge {PAPER}": edge, f"More efficient on Edge (%) {PAPER}": delta}
            | {f"GPU {OURS}": at["gpu"], f"Edge {OURS}": at["edge"]}
            | {f"More efficient on Edge (%) {OURS}": 100 * (at["gpu"] - at["edge"]) / at["gpu"]}
            | {"CPU": at["cpu"], "Edge against CPU (%)": 100 * (at["cpu"] - at["edge"]) / at["cpu"]}
        )
    return pd.DataFrame(rows)


def interaction_summary(matrix: ResultMatrix, options: AnalysisOptions) -> pd.DataFrame:
    """Return the statistics of 4.5; an observation is a configuration, as in the paper, or a chip."""
    ratio = np.delete(
        matrix.ratios()["latency"], [matrix.models.index(m) for m in matrix.models if m == matrix.baseline], axis=1
    )
    medians = observations(matrix, ratio, "chip")
    by_row = _tier_difference(ratio, matrix.tiers, options)
    by_chip = _tier_difference(medians.to_numpy(), medians.index.get_level_values(0).to_numpy(dtype=object), options)
    cv = {tier: finite_mean(coefficient_of_variation(ratio[matrix.tiers == tier])) for tier in TIER_NAMES}
    rows = [
        ("Models with a significant GPU-Edge difference (%)", 81.8, by_row[0], by_chip[0]),
        ("Mean absolute difference (%)", 35.0, by_row[1], by_chip[1]),
        ("Within-tier CV", 0.336, finite_mean(np.array(list(cv.values()))), NAN),
        ("Within-tier CV, Edge", 0.552, cv["edge"], NAN),
        ("Within-tier CV, GPU", 0.154, cv["gpu"], NAN),
        ("Within-tier CV, CPU", NAN, cv["cpu"], NAN),
    ]
    return pd.DataFrame(rows, columns=["Statistic", f"Value {PAPER}", f"Value {OURS}", "One observation per chip"])


def _tier_difference(
    ratio: Floats, tiers: np.ndarray[tuple[int], np.dtype[np.object_]], options: AnalysisOptions
) -> tuple[float, float]:
    gpu, edge = ratio[tiers == "gpu"], ratio[tiers == "edge"]
    if not len(gpu) or not len(edge):
        return NAN, NAN
    p = np.array([mann_whitney(a, b).p for a, b in zip(gpu.T, edge.T, strict=True)])
    tested = np.isfinite(p)
    one, other = column_medians(gpu), column_medians(edge)
    share = 100 * float((p[tested] < options.alpha).mean()) if tested.any() else NAN
    return share, 100 * finite_mean(np.abs((one - other) / one))


def frontier_scores(
    matrix: ResultMatrix,
    values: dict[str, Floats],
    sample: ResultMatrix,
    noise: Sequence[Floats],
    options: AnalysisOptions,
) -> pd.DataFrame:
    """Return Table 7: accuracy-FRM frontiers transferred from single devices, and from a tier's mean."""
    scored = {name: _scores(values[name], values[FRM], matrix, options) for name in (FRM, FLOPS, LATENCY, MEMORY)}
    truth = metrics(sample)[FRM]
    mixed = [_scores(v, truth, sample, options).f1 for v in noise]
    rows: list[Row] = []
    for source, target, figures in printed.FRONTIERS:
        rows.append(_frontier_row(source, target, figures, matrix, scored, sample, mixed))
    rows.append(_mean_row(rows))
    for source in TIER_NAMES:
        for target in TIER_NAMES:
            name = f"{TIER_NAMES[source]} (mean)"
            if (name, target) != ("Edge (mean)", "gpu") and (matrix.tiers == source).any():
                row = _frontier_row(name, target, (NAN,) * 3, matrix, scored, sample, mixed)
                rows += [row] if np.isfinite(row[f"F1 {OURS}"]) else []  # type: ignore[call-overload]
    return pd.DataFrame(rows)


def _scores(predictor: Floats, objective: Floats, matrix: ResultMatrix, options: AnalysisOptions) -> Scores:
    return score_pairs(
        predictor, objective, matrix.top1, dominance=options.dominance, min_models=options.min_models, economics=False
    )


def _is_source(matrix: ResultMatrix, source: str) -> Mask:
    tier = next((tier for tier, name in TIER_NAMES.items() if source == f"{name} (mean)"), None)
    mask: Mask = matrix.tiers == tier if tier else np.isin(matrix.devices, printed.DEVICES[source])
    return mask


def _frontier_row(
    source: str,
    target: str,
    figures: Sequence[float],
    matrix: ResultMatrix,
    scored: dict[str, Scores],
    sample: ResultMatrix,
    mixed: Sequence[Floats],
) -> Row:
    def pairs_of(some: ResultMatrix) -> Mask:
        pairs: Mask = _is_source(some, source)[:, None] & (some.tiers == target)[None] & different_chips(some)
        return pairs

    wanted, wanted_here = pairs_of(matrix), pairs_of(sample)
    found = scored[FRM]
    ours = [finite_mean(values[wanted]) for values in (found.precision, found.recall, found.f1)]
    heads = ("Precision", "Recall", "F1")
    devices = len(set(matrix.devices[matrix.tiers == target]))
    label: Row = {"Source": source, "Target": f"{TIER_NAMES[target]} ({devices} devices)"}
    return (
        label
        | {f"{head} {PAPER}": value for head, value in zip(heads, figures, strict=True)}
        | {f"{head} {OURS}": value for head, value in zip(heads, ours, strict=True)}
        | {f"F1 by {word}": finite_mean(scored[name].f1[wanted]) for name, word in _CONTROLS.items()}
        | {"F1 by shuffled FRM": finite_mean(np.array([finite_mean(f1[wanted_here]) for f1 in mixed]))}
        | {"Pairs": int(np.isfinite(found.f1[wanted]).sum())}
    )


_CONTROLS = {FLOPS: "FLOPs only", LATENCY: "latency only", MEMORY: "memory only"}


def _mean_row(rows: Sequence[Row]) -> Row:
    means = pd.DataFrame(rows).drop(columns=["Source", "Target", "Pairs"]).mean()
    heads = ("Precision", "Recall", "F1")
    paper = {f"{head} {PAPER}": value for head, value in zip(heads, printed.FRONTIERS_OVERALL, strict=True)}
    total = sum(int(str(row["Pairs"])) for row in rows)
    return {"Source": "Overall", "Target": "", **{str(k): float(v) for k, v in means.items()}, **paper, "Pairs": total}


def failure_rates(
    matrix: ResultMatrix,
    values: dict[str, Floats],
    sample: ResultMatrix,
    noise: Sequence[Floats],
    options: AnalysisOptions,
) -> pd.DataFrame:
    """Return Table 8: how often a family's frontier membership is wrong after transfer to another tier."""
    rates = {name: _failures(matrix, values[name], values[FRM], options) for name in (FRM, FLOPS, LATENCY, MEMORY)}
    truth = metrics(sample)[FRM]
    mixed = np.array([_failures(sample, v, truth, options) for v in noise])
    rows: list[Row] = []
    for place, (family, (name, figure, cause)) in enumerate(printed.FAILURES.items()):
        members = [model for model, of in zip(matrix.models, matrix.families, strict=True) if of == family]
        rows.append(
            {"Architecture Family": name, f"Failure rate (%) {PAPER}": figure}
            | {f"Failure rate (%) {OURS}": rates[FRM][place]}
            | {f"by {word} (%)": rates[control][place] for control, word in _CONTROLS.items()}
            | {"by shuffled FRM (%)": finite_mean(mixed[:, place]), "Models": ", ".join(members)}
            | {"Primary cause in the paper": cause}
        )
    return pd.DataFrame(rows)


def _failures(matrix: ResultMatrix, predictor: Floats, objective: Floats, options: AnalysisOptions) -> list[float]:
    """Return the percentage of wrong memberships of each family over all pairs of tiers."""
    rates = pooled_failure_rates(matrix, predictor, objective, options)
    return [100 * rates.get(family, NAN) for family in printed.FAILURES]


def architectures(matrix: ResultMatrix) -> pd.DataFrame:
    """Return Table 9. Weights take 4 bytes per parameter, which is what the paper prints as memory."""
    params, gmacs, top1 = (column_medians(v) for v in (matrix.params_m, matrix.gmacs, _float_top1(matrix)))
    place = {model: index for index, model in enumerate(matrix.models)}
    rows: list[Row] = []
    for model, (params_m, gflops, mib, family) in printed.ARCHITECTURES.items():
        at = place.get(model)
        ours = [NAN if at is None else float(v[at]) for v in (params, gmacs, top1)]
        label: Row = {"Model": printed.MODELS[model]}
        rows.append(
            label
            | {f"Params (M) {PAPER}": params_m, f"FLOPs (G) {PAPER}": gflops, f"Mem (MiB) {PAPER}": mib}
            | {f"Family {PAPER}": family, f"Params (M) {OURS}": ours[0], f"FLOPs (G) {OURS}": ours[1]}
            | {f"Mem (MiB) {OURS}": ours[0] * _MIB_PER_MILLION_FLOATS}
            | {
                f"Family {OURS}": ""
                if at is None
                else printed.FAMILY_NAMES.get(matrix.families[at], matrix.families[at])
            }
            | {"Top-1 (%)": ours[2]}
        )
    return pd.DataFrame(rows)


def _float_top1(matrix: ResultMatrix) -> Floats:
    """Return the accuracies on the configurations that run in floating point."""
    return matrix.top1[matrix.configurations[PRECISION.column].isin(FLOAT_PRECISIONS).to_numpy()]


def _case(matrix: ResultMatrix, options: AnalysisOptions) -> Case:
    """Choose the case study's configurations: the paper's devices, those from the options, or the most complete."""
    wanted = [model in printed.CANDIDATES for model in matrix.models]
    count = matrix.measured[:, wanted].sum(axis=1) * 1000 + matrix.measured.sum(axis=1)
    comparable = np.isfinite(matrix.frm()[:, wanted]).sum(axis=1) * 1_000_000 + count
    target = _device(matrix, options.case_target, printed.CASE_TARGET, matrix.tiers == "edge", count, "case_target")
    chip = matrix.chips[target] if target is not None else None
    elsewhere = (matrix.chips != chip) & (matrix.tiers != "edge")
    if not elsewhere.any():
        elsewhere = matrix.chips != chip
    reference = _device(matrix, options.case_reference, printed.CASE_REFERENCE, elsewhere, comparable, "case_reference")
    named = (printed.CASE_REFERENCE, printed.CASE_TARGET)
    places = zip((reference, target), named, strict=True)
    return Case(
        reference=reference,
        target=target,
        is_papers=tuple(at is not None and matrix.devices[at] == name for at, name in places),  # type: ignore[arg-type]
    )


def _device(
    matrix: ResultMatrix, chosen: str | None, paper: str, usual: Mask, weight: Floats, setting: str
) -> int | None:
    """Return the configuration of highest `weight` on the chosen device, else on the paper's, else on a usual one."""
    if chosen is not None and chosen not in set(matrix.devices):
        names = ", ".join(sorted(set(matrix.devices))[:8])
        raise DataError(f"options.{setting}: no benchmark on '{chosen}'; there are {names}")
    mask = matrix.devices == (chosen or paper)
    mask = mask if mask.any() else usual
    rows = np.flatnonzero(mask)
    if not rows.size:
        return None
    return int(max(rows, key=lambda row: (weight[row], matrix.labels[row])))


def algorithm_1(matrix: ResultMatrix, case: Case, options: AnalysisOptions) -> pd.DataFrame:
    """Return Algorithm 1 step by step: ranks and frontier on the source, and the true frontier on the target."""
    columns = ["Model", "Accuracy (%)", "FRM on source", "Rank r_S", "Predicted frontier", "True frontier"]
    columns += [f"Predicted by {word}" for word in _CONTROLS.values()]
    if case.reference is None or case.target is None:
        return pd.DataFrame(columns=columns)
    values = metrics(matrix)
    source, target = case.reference, case.target
    common = np.isfinite(values[FRM][source]) & np.isfinite(values[FRM][target]) & np.isfinite(matrix.top1[target])
    top1 = np.where(common, matrix.top1[target], np.nan)
    cost = np.where(common, values[FRM][source], np.nan)
    true = _frontier(np.where(common, values[FRM][target], np.nan), top1, options)
    table = pd.DataFrame(
        {"Model": [_name(m) for m in matrix.models], "Accuracy (%)": top1, "FRM on source": matrix.frm()[source]}
    )
    table["Rank r_S"] = ranks(cost)
    table["Predicted frontier"], table["True frontier"] = _frontier(ranks(cost), top1, options), true
    for name, word in _CONTROLS.items():
        table[f"Predicted by {word}"] = _frontier(np.where(common, values[name][source], np.nan), top1, options)
    kept: pd.DataFrame = table[common].sort_values(["Rank r_S", "Model"], kind="stable").reset_index(drop=True)
    return kept


def _frontier(cost: Floats, top1: Floats, options: AnalysisOptions) -> Mask:
    rule: Dominance = "strict" if options.dominance == "strict" else "any"
    return frontier(cost, top1, dominance=rule)


def _name(model: str) -> str:
    return printed.MODELS.get(model, printed.CANDIDATES[model][0] if model in printed.CANDIDATES else model)


def cost_table(selection: Selection, matrix: ResultMatrix, options: AnalysisOptions) -> pd.DataFrame:
    """Return 5.4: runs, device hours and money of the full grid and of one reference device."""
    seconds = selection.matrix.seconds[selection.matrix.measured]
    each = finite_mean(seconds)
    price = NAN if options.price_per_device_hour is None else options.price_per_device_hour
    models, devices = int(matrix.measured.any(axis=0).sum()), len(set(matrix.devices))
    ours, paper = runs_saved(models=models, devices=devices), runs_saved(models=13, devices=106)
    rows = []
    for name, figure, runs in (
        ("Traditional approach", float(paper.full), ours.full),
        ("FRM + Pareto prediction", float(paper.reference), ours.reference),
        ("Saved", float(paper.saved), ours.saved),
    ):
        hours = runs * each / 3600
        rows.append((name, figure, float(runs), hours, hours * price))
    heads = ["Approach", f"Runs {PAPER}", f"Runs {OURS}", "Device hours", "Price"]
    table = pd.DataFrame(rows, columns=heads)
    share = {"Approach": "Reduction (%)", heads[1]: 99.5, heads[2]: 100 * ours.share}
    return pd.concat([table, pd.DataFrame([share])], ignore_index=True)


def candidates(matrix: ResultMatrix, case: Case, options: AnalysisOptions) -> pd.DataFrame:
    """Return section 6's candidates: accuracy, FLOPs, FRM on the reference, latency on the target and the limit.

    The columns of the paper's devices are empty if the data lacks them; substitutes have separate columns.
    """
    nothing = np.full(len(matrix.models), NAN)
    frm = nothing if case.reference is None else matrix.frm()[case.reference]
    latency = nothing if case.target is None else matrix.latency_ms[case.target]
    costs = {
        f"FRM on RTX 4090 {OURS}": frm if case.is_papers[0] else nothing,
        f"Latency on Galaxy S21 (ms) {OURS}": latency if case.is_papers[1] else nothing,
        f"FRM on {_device_name(matrix, case.reference)}": nothing if case.is_papers[0] else frm,
        f"Latency on {_device_name(matrix, case.target)} (ms)": nothing if case.is_papers[1] else latency,
    }
    facts = {"Accuracy (%)": column_medians(_float_top1(matrix)), "FLOPs (G)": column_medians(matrix.gmacs)}
    rows: list[Row] = []
    for model, (name, *figures) in printed.CANDIDATES.items():
        at = matrix.models.index(model) if model in matrix.models else None
        heads = ("Accuracy (%)", "FLOPs (G)", "FRM on RTX 4090", "Latency on Galaxy S21 (ms)")
        row: Row = {"Model": name} | {f"{head} {PAPER}": float(v) for head, v in zip(heads, figures, strict=True)}
        row[f"Meets the limit {PAPER}"] = _yes(figures[-1] <= _PAPER_LIMIT_MS)
        ours = {f"{head} {OURS}": v for head, v in facts.items()} | costs
        row |= {head: NAN if at is None else float(values[at]) for head, values in ours.items()}
        on_s21, here = (float(str(row[head])) for head in ours if head.startswith("Latency on"))
        row[f"Meets the limit {OURS}"] = _meets(on_s21, options.case_max_latency_ms)
        row["Meets the limit here"] = _meets(here, options.case_max_latency_ms)
        rows.append(row)
    return pd.DataFrame(rows)


_PAPER_LIMIT_MS = 100


def _device_name(matrix: ResultMatrix, place: int | None) -> str:
    return "no device" if place is None else f"{matrix.labels[place]}"


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def _meets(latency_ms: float, limit_ms: float) -> str:
    return _yes(latency_ms <= limit_ms) if np.isfinite(latency_ms) else ""


def picks(matrix: ResultMatrix, case: Case, options: AnalysisOptions) -> pd.DataFrame:
    """Return which candidate each method picks, and whether it meets the limit on the target.

    A pick needs all three candidates. `(ours)` is a pick based on the paper's devices, `here` one based on substitutes.
    """
    wanted = [matrix.models.index(m) for m in printed.CANDIDATES if m in matrix.models]
    latency = np.full(len(matrix.models), NAN) if case.target is None else matrix.latency_ms[case.target]
    costs = {name: np.full(len(matrix.models), NAN) for name in (FRM, LATENCY, MEMORY)}
    if case.reference is not None:
        costs = {name: metrics(matrix)[name][case.reference] for name in costs}
    costs[FLOPS] = column_medians(matrix.gmacs)
    top1 = np.where(latency <= options.case_max_latency_ms, column_medians(_float_top1(matrix)), NAN)
    methods = (
        ("FLOPs-based selection", costs[FLOPS], ("LeViT-128S", "no"), True),
        ("FRM-based selection", costs[FRM], ("MobileNetV3-Large", "yes"), case.is_papers[0]),
        ("Latency-based selection (control)", costs[LATENCY], ("", ""), case.is_papers[0]),
        ("Memory-based selection (control)", costs[MEMORY], ("", ""), case.is_papers[0]),
        ("Most accurate within the limit (measured)", -top1, ("", ""), case.is_papers[1]),
    )
    rows: list[Row] = []
    for method, cost, (pick, meets), is_papers in methods:
        finite = [m for m in wanted if np.isfinite(cost[m])]
        whole = len(finite) == len(printed.CANDIDATES) or (method.startswith("Most") and bool(finite))
        best = min(finite, key=lambda m: (float(cost[m]), matrix.models[m])) if whole else None
        name = "" if best is None else _name(matrix.models[best])
        ours = NAN if best is None else float(latency[best])
        verdict = _meets(ours, options.case_max_latency_ms)
        rows.append(
            {"Method": method, f"Pick {PAPER}": pick, f"Meets the limit {PAPER}": meets}
            | {f"Pick {OURS}": name if is_papers else ""}
            | {f"Meets the limit {OURS}": verdict if is_papers and case.is_papers[1] else ""}
            | {"Pick here": name, "Latency on target here (ms)": ours, "Meets the limit here": verdict}
        )
    return pd.DataFrame(rows)


def coverage(tables: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """Return, for each table, how many figures the paper prints and how many of them can be compared with ours."""
    rows = []
    for name, table in tables.items():
        twins = [(c, c.removesuffix(PAPER) + OURS) for c in table.columns if c.endswith(PAPER)]
        twins = [(one, other) for one, other in twins if other in table.columns]
        stated, filled = (np.zeros((len(table), len(twins)), dtype=np.bool_) for _ in range(2))
        for place, (one, other) in enumerate(twins):
            stated[:, place], filled[:, place] = (table[c].notna() & (table[c] != "") for c in (one, other))
        count = int(stated.sum())
        if twins:
            rows.append({"table": name, "in_paper": count, "ours": int((stated & filled).sum())})
    found = pd.DataFrame(rows)
    return found.assign(empty=found["in_paper"] - found["ours"])


def _mean_of(rows: Iterable[dict[str, float]]) -> dict[str, float]:
    table = pd.DataFrame(list(rows))
    return {str(name): float(value) for name, value in table.mean().items()}


def _sentences(
    tables: dict[str, pd.DataFrame], matrix: ResultMatrix, everything: ResultMatrix, case: Case
) -> list[str]:
    cells = tables["coverage"][["in_paper", "ours", "empty"]].sum()
    absent = [
        printed.MODELS[m]
        for m in printed.MODELS
        if m not in matrix.models or not matrix.measured[:, matrix.models.index(m)].any()
    ]
    tiers = [f"{len(set(matrix.devices[matrix.tiers == tier]))} {TIER_NAMES[tier]}" for tier in TIER_NAMES]
    found = [
        f"The data reproduces {int(cells['ours'])} of the {int(cells['in_paper'])} figures in the paper's tables; "
        f"{int(cells['empty'])} cells are empty. Devices here: {', '.join(tiers)}. "
        f"Models of the paper without a benchmark: {', '.join(absent) or 'none'}."
    ]
    for metric, name in ((f"FRM ρ {OURS}", "FRM"), (f"Latency ρ {OURS}", "latency")):
        for row in tables["table_4"].to_dict("records"):
            if np.isfinite(row[metric]) and row["Transfer"] != "Overall":
                paper = row[metric.replace(OURS, PAPER)]
                beside = f" (paper: {paper:.3f})" if np.isfinite(paper) else ""
                found.append(f"{row['Transfer']}: the rank correlation ρ of {name} is {row[metric]:.3f}{beside}.")
    found.append(_algorithm_sentence(tables["algorithm_1"], everything, case))
    chosen = {row["Method"]: row["Pick here"] or "nothing" for row in tables["section_6_picks"].to_dict("records")}
    devices = "" if all(case.is_papers) else " on other devices, because the paper's are not in the data"
    found.append(f"Section 6{devices}: {'; '.join(f'{method}: {pick}' for method, pick in chosen.items())}.")
    return found


def _algorithm_sentence(table: pd.DataFrame, matrix: ResultMatrix, case: Case) -> str:
    if case.reference is None or case.target is None or table.empty:
        return "Algorithm 1 needs a reference and a target on different chips with FRM and accuracy for common models."
    found = score(table["Predicted frontier"].to_numpy(), table["True frontier"].to_numpy())
    return (
        f"Algorithm 1 from {matrix.labels[case.reference]} to {matrix.labels[case.target]}: precision "
        f"{found.precision:.2f}, recall {found.recall:.2f}, F1 {found.f1:.2f} over {len(table)} models."
    )


PAPER_ANALYSIS = Analysis(
    name="paper",
    question="What do the paper's tables contain, and what do these benchmarks give?",
    paper="Tables 1 to 9, Algorithm 1, 5.4, 6",
    compute=compute,
)
"""The tenth analysis: the paper's tables."""
