"""Every analysis written the naive way: pandas rows, SciPy, nested loops. The fast code must agree."""

from fractions import Fraction
from itertools import combinations, pairwise, permutations

import numpy as np
import pandas as pd
from scipy.stats import kendalltau, mannwhitneyu, spearmanr

COLUMNS = {"latency": "latency_ms", "memory": "memory_mib", "flops": "gmacs", "params": "params_m", "accuracy": "top1"}


def with_frm(frame: pd.DataFrame, baseline: str = "resnet50") -> pd.DataFrame:
    """Compute FRM of every row by the paper's equations, one row at a time."""
    frame = frame.copy()
    base = frame[frame["model"] == baseline].set_index(KEY)
    values = []
    for row in frame.to_dict("records"):
        reference = base.loc[tuple(row[k] for k in KEY)]
        ratios = [row[c] / reference[c] for c in ("gmacs", "latency_ms", "memory_mib")]
        values.append((ratios[0] * ratios[1] * ratios[2]) ** (1 / 3))
    return frame.assign(
        frm=values,
        ratio=[r["latency_ms"] / base.loc[tuple(r[k] for k in KEY)]["latency_ms"] for r in frame.to_dict("records")],
    )


KEY = ["device", "runtime", "precision"]


def tables_of(frame: pd.DataFrame) -> dict:
    """Return one small table per configuration, indexed by model."""
    return {key: rows.set_index("model") for key, rows in frame.groupby(KEY)}


def column(metric: str) -> str:
    return "frm" if metric == "frm" else COLUMNS[metric]


def rho(one: pd.Series, other: pd.Series, min_models: int = 5) -> float:
    both = pd.concat([one, other], axis=1, join="inner").dropna()
    return spearmanr(both.iloc[:, 0], both.iloc[:, 1]).statistic if len(both) >= min_models else np.nan


def disagreements(frame: pd.DataFrame, metric: str, threshold: int = 2) -> pd.DataFrame:
    rows = []
    for key, table in tables_of(frame).items():
        flops, other = table["gmacs"].rank(), table[column(metric)].rank()
        for model in table.index:
            gained = flops[model] - other[model]
            rows.append(
                {"configuration": key, "model": model, "family": table.loc[model, "family"]}
                | {"tier": table.loc[model, "tier"], "gained": gained, "case": abs(gained) >= threshold}
            )
    return pd.DataFrame(rows)


def stability(frame: pd.DataFrame, metric: str) -> float:
    tables = tables_of(frame)
    found = []
    for one, other in combinations(tables.values(), 2):
        if one["chip"].iloc[0] != other["chip"].iloc[0]:
            found.append(rho(one[column(metric)], other[column(metric)]))
    return float(np.nanmean(found))


def source_ranking(frame: pd.DataFrame, metric: str, tier: str) -> pd.Series:
    shares: dict[str, list[Fraction]] = {}
    for table in tables_of(frame[frame["tier"] == tier]).values():
        values = table[column(metric)].dropna()
        for model, rank in values.rank().items():
            shares.setdefault(model, []).append((Fraction(rank) - Fraction(1, 2)) / len(values))
    return pd.Series({model: float(sum(each) / len(each)) for model, each in shares.items()})


def tier_transfer(frame: pd.DataFrame, predictor: str, predicts: str, source: str, target: str) -> tuple[float, float]:
    wanted = predictor if predicts == "itself" else predicts
    ranking = source_ranking(frame, predictor, source)
    rhos, taus = [], []
    for table in tables_of(frame[frame["tier"] == target]).values():
        both = pd.concat([ranking, table[column(wanted)]], axis=1, join="inner").dropna()
        if len(both) >= 5:
            rhos.append(spearmanr(both.iloc[:, 0], both.iloc[:, 1]).statistic)
            taus.append(kendalltau(both.iloc[:, 0], both.iloc[:, 1]).statistic)
    return float(np.nanmean(rhos)), float(np.nanmean(taus))


def right_decisions(frame: pd.DataFrame, predictor: str, source: str, target: str, low: float, high: float) -> float:
    """Mean, over target configurations, of the share of right decisions with a latency ratio in (low, high]."""
    ranking = source_ranking(frame, predictor, source)
    shares = []
    for table in tables_of(frame[frame["tier"] == target]).values():
        right = []
        for a, b in combinations([m for m in table.index if m in ranking.index], 2):
            ratio = table["latency_ms"][a] / table["latency_ms"][b]
            if low < max(ratio, 1 / ratio) <= high:
                right.append(0.5 + 0.5 * np.sign(ranking[a] - ranking[b]) * np.sign(np.log(ratio)))
        if right:
            shares.append(np.mean(right))
    return float(np.mean(shares))


def frontier(costs: pd.Series, top1: pd.Series) -> set[str]:
    """Equation 5 of the paper, literally."""
    return {m for m in costs.index if not any(top1[k] > top1[m] and costs[k] < costs[m] for k in costs.index)}


def transferred(frame: pd.DataFrame, predictor: str, objective: str, source: str, target: str) -> pd.DataFrame:
    """Algorithm 1 on every pair of configurations of two tiers on different chips."""
    rows = []
    tables = tables_of(frame)
    here = {k: t for k, t in tables.items() if t["tier"].iloc[0] == source}
    there = {k: t for k, t in tables.items() if t["tier"].iloc[0] == target}
    for one, other in [(a, b) for a in here for b in there if a != b]:
        a, b = here[one], there[other]
        common = a.index.intersection(b.index)
        if a["chip"].iloc[0] == b["chip"].iloc[0] or len(common) < 5:
            continue
        a, b = a.loc[common], b.loc[common]
        guess = frontier(a[column(predictor)], a["top1"])
        true = frontier(b[column(objective)], b["top1"])
        hits = len(guess & true)
        rows.append(
            {"precision": hits / len(guess), "recall": hits / len(true), "f1": 2 * hits / (len(guess) + len(true))}
            | {"failure": len(guess ^ true) / len(common), "wrong": guess ^ true, "common": set(common)}
            | {"regret": regret(guess, b[column(objective)], b["top1"])}
            | {
                "hypervolume": area(guess, b[column(objective)], b["top1"])
                / area(set(common), b[column(objective)], b["top1"])
            }
        )
    return pd.DataFrame(rows)


def regret(chosen: set[str], costs: pd.Series, top1: pd.Series) -> float:
    lost = []
    for budget in costs:
        affordable = costs.index[costs <= budget]
        mine = [top1[m] for m in affordable if m in chosen]
        lost.append(max(top1[m] for m in affordable) - (max(mine) if mine else top1.min()))
    return float(np.mean(lost))


def area(chosen: set[str], costs: pd.Series, top1: pd.Series) -> float:
    """Area under the selected staircase in log cost, up to the costliest model and above the least accurate one."""
    budgets = sorted(costs)
    total = 0.0
    for low, high in pairwise(budgets):
        reached = [top1[m] for m in chosen if costs[m] <= low]
        total += (np.log(high) - np.log(low)) * ((max(reached) if reached else top1.min()) - top1.min())
    return total


def interaction(frame: pd.DataFrame, model: str, one: str, other: str, unit: str) -> tuple[float, float]:
    """Mann-Whitney's U and p of one model's latency ratio between two tiers."""
    rows = frame[frame["model"] == model]
    if unit == "chip":
        rows = rows.groupby(["tier", "chip"], as_index=False)["ratio"].median()
    samples = [rows[rows["tier"] == tier]["ratio"] for tier in (one, other)]
    test = mannwhitneyu(*samples, method="exact" if sum(map(len, samples)) <= 60 else "auto")
    return float(test.statistic), float(test.pvalue)


def matched(frame: pd.DataFrame, axis: str, a: str, b: str, metric: str) -> float:
    others = [k for k in KEY if k != axis]
    found = []
    for _, rows in frame.groupby(others):
        sides = [rows[rows[axis] == level].set_index("model") for level in (a, b)]
        if all(len(side) for side in sides):
            found.append(rho(sides[0][column(metric)], sides[1][column(metric)]))
    return float(np.nanmean(found))


def flipped_share(frame: pd.DataFrame, source: str, target: str, cheap: str, dear: str, metric: str) -> float:
    """Share of target configurations on which `cheap` costs more than `dear`."""
    gaps = [
        t[column(metric)][cheap] - t[column(metric)][dear]
        for t in tables_of(frame[frame["tier"] == target]).values()
        if cheap in t.index and dear in t.index
    ]
    return float(np.mean(np.array(gaps) > 0))


def tier_pairs(frame: pd.DataFrame) -> list[tuple[str, str]]:
    return list(permutations(sorted(frame["tier"].unique()), 2))


def bootstrap_pair_mean(
    frame: pd.DataFrame, metric: str, resamples: int, rng: np.random.Generator
) -> tuple[float, float]:
    """Percentile interval of the mean pairwise rho: draw chips, average over the drawn pairs, again and again."""
    tables = {t["chip"].iloc[0]: t for t in tables_of(frame).values()}
    chips = sorted(tables)
    known = {(a, b): rho(tables[a][column(metric)], tables[b][column(metric)]) for a, b in combinations(chips, 2)}
    means = []
    for _ in range(resamples):
        drawn = rng.choice(chips, len(chips))
        means.append(np.mean([known[min(a, b), max(a, b)] for a, b in combinations(drawn, 2) if a != b]))
    return float(np.quantile(means, 0.025)), float(np.quantile(means, 0.975))
