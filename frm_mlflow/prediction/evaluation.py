"""`evaluate`: how accurate the predictions are on this history, by strict protocols."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from frm_mlflow.analysis.bootstrap import CORRELATION, SHARE, ChipInterval, mean_intervals
from frm_mlflow.analysis.matrix import ResultMatrix
from frm_mlflow.errors import DataError
from frm_mlflow.prediction.history import history_of
from frm_mlflow.prediction.learning import AUTO
from frm_mlflow.prediction.options import EvaluationOptions, PredictionOptions
from frm_mlflow.prediction.protocols import HeldOut, held_out, new_model_rows
from frm_mlflow.prediction.trial import PLANNED, RANDOM, Trial, run_trial

SCORES = (
    "f1",
    "precision",
    "recall",
    "spearman",
    "kendall",
    "regret",
    "mape",
    "coverage",
    "brier",
    "brier_of_points",
    "frm_f1",
    "frm_precision",
    "frm_recall",
    "frm_spearman",
)
_KEYS = ["protocol", "predictor", "anchors", "plan"]
_POSITIVE = (0.0, np.inf)
_BOUNDS: dict[str, tuple[float, float]] = {
    "spearman": CORRELATION,
    "kendall": CORRELATION,
    "frm_spearman": CORRELATION,
    "regret": _POSITIVE,
    "mape": _POSITIVE,
    "given_up": _POSITIVE,
}
"""Limits of the scores; the others are shares."""
_BINS = np.linspace(0, 1, 11)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Evaluation:
    """Scores of every predictor on every held-out configuration, one row each in `scores`.

    `budgets`, `families` and `reliability` have the data for Tables 7 and 8 and the figures.
    `new_models` is the protocol that hides models. `refused` lists the protocols that the history
    does not support, and why.
    """

    scores: pd.DataFrame
    budgets: pd.DataFrame
    families: pd.DataFrame
    reliability: pd.DataFrame
    new_models: pd.DataFrame
    refused: dict[str, str]
    confidence: float
    resamples: int
    seed: int

    def tables(self) -> dict[str, pd.DataFrame]:
        """Return every table; means are over chips, and intervals are bootstrap intervals over chips."""
        tables = {
            "scores": self.score_table(),
            "table_7": self.table_7(),
            "table_8": self.table_8(),
            "budgets": self.budget_table(),
            "plan_gain": self.plan_gain(),
            "reliability": self.reliability_table(),
            "new_models": self.new_models,
        }
        return {name: table for name, table in tables.items() if len(table)}

    def score_table(self) -> pd.DataFrame:
        """Return the mean of each score with its interval, by protocol, predictor and anchors."""
        rows = []
        for key, group in self.scores.groupby(_KEYS, sort=False):
            columns = [name for name in SCORES if name in group and group[name].notna().any()]
            by_chip = group.groupby("chip")[columns].mean()
            means = self._means(by_chip)
            row: dict[str, object] = dict(zip(_KEYS, key, strict=True)) | {"chips": len(by_chip)}
            for name, interval in zip(columns, means, strict=True):
                row |= {name: interval.value, f"{name}_low": interval.low, f"{name}_high": interval.high}
            rows.append(row)
        return pd.DataFrame(rows)

    def table_7(self) -> pd.DataFrame:
        """Return the paper's Table 7: source, target, precision, recall, F1 of the accuracy-FRM frontier."""
        if "frm_f1" not in self.scores:
            return pd.DataFrame()
        rows = self.scores[(self.scores["predictor"] == "algorithm1") & (self.scores["anchors"] == 0)]
        means = rows.groupby(["protocol", "part"])[["frm_precision", "frm_recall", "frm_f1"]].mean().reset_index()
        source = np.where(means["protocol"] == "tier", means["part"].str.split(" to ").str[0], "all other parts")
        target = np.where(means["protocol"] == "tier", means["part"].str.split(" to ").str[-1], means["part"])
        table = pd.DataFrame({"protocol": means["protocol"], "source": source, "target": target})
        for name in ("precision", "recall", "f1"):
            table[name] = means[f"frm_{name}"]
        return table

    def table_8(self) -> pd.DataFrame:
        """Return the paper's Table 8: share of models with wrong frontier membership, by family and predictor."""
        if not len(self.families):
            return pd.DataFrame()
        sums = self.families.groupby([*_KEYS, "family"])[["models", "failures"]].sum().reset_index()
        return sums.assign(failure_rate=sums["failures"] / sums["models"])

    def budget_table(self) -> pd.DataFrame:
        """Return, by protocol, how often a latency budget is exceeded and how much accuracy is given up.

        Each predictor picks by its point prediction, and `auto` and `transfer` also with confidence.
        `same_violations_factor` is the smallest fixed safety factor that exceeds budgets no more
        often than picking with confidence, and `same_violations_given_up` is the accuracy it gives up.
        """
        rows = []
        for (protocol, predictor), group in self.budgets.groupby(["protocol", "predictor"], sort=False):
            by_chip = _by_chip(group)
            sure, point = (by_chip.query("factor == @factor").droplevel("factor") for factor in (0.0, 1.0))
            row: dict[str, object] = {"protocol": protocol, "predictor": predictor, "chips": len(sure)}
            for how, part in (("point", point), ("confident", sure)):
                row |= self._intervals(part, how)
            rows.append(row | _same_violations(by_chip, float(sure["violated"].mean())))
        return pd.DataFrame(rows)

    def plan_gain(self) -> pd.DataFrame:
        """Return how much better planned anchors are than equally many random ones, on the same configurations."""
        random = self.scores[self.scores["plan"] == RANDOM]
        if not len(random):
            return pd.DataFrame()
        key = ["protocol", "chip", "configuration", "anchors"]
        planned = self.scores[(self.scores["plan"] == PLANNED) & (self.scores["predictor"] == "transfer")]
        names = ["f1", "spearman", "mape"]
        both = planned.groupby(key)[names].mean() - random.groupby(key)[names].mean()
        by_chip = both.dropna().groupby("chip").mean()
        means = mean_intervals(by_chip.to_numpy(float), by_chip.index, rng=self._rng(), resamples=self.resamples)
        return pd.DataFrame(
            [(n, i.value, i.low, i.high) for n, i in zip(names, means, strict=True)],
            columns=["score", "planned_minus_random", "low", "high"],
        )

    def reliability_table(self) -> pd.DataFrame:
        """Return how often models with a given frontier probability are on the frontier, in ten bins."""
        if not len(self.reliability):
            return pd.DataFrame()
        bins = np.clip(np.digitize(self.reliability["probability"], _BINS) - 1, 0, 9)
        groups = self.reliability.assign(bin=bins).groupby("bin")
        table = groups.agg(predicted=("probability", "mean"), observed=("member", "mean"), models=("member", "size"))
        return table.reset_index()

    def summary(self) -> tuple[str, ...]:
        """Return the finding for each protocol, then the unsupported protocols."""
        table = self.score_table()
        sentences = [
            _sentence(row) for _, row in table.iterrows() if row["plan"] == PLANNED and row["predictor"] == AUTO
        ]
        return (*sentences, *(f"Not evaluated: {reason}." for reason in self.refused.values()))

    def metrics(self) -> dict[str, float]:
        """Return the automatic choice's scores for an evaluation run."""
        table = self.score_table()
        rows = table[(table["predictor"] == AUTO) & (table["plan"] == PLANNED)]
        return {
            f"prediction/{row['protocol']}/{int(row['anchors'])}_anchors/{name}": float(row[name])
            for _, row in rows.iterrows()
            for name in ("f1", "spearman", "mape", "coverage", "brier")
            if name in row and np.isfinite(row[name])
        }

    def _rng(self) -> np.random.Generator:
        """Return a fresh generator, so that a table does not depend on the order in which tables are requested."""
        return np.random.default_rng(self.seed)

    def _means(self, by_chip: pd.DataFrame) -> list[ChipInterval]:
        """Return the mean of each score over chips with its 95 % interval, within the score's limits."""
        lowest, highest = ([_BOUNDS.get(name, SHARE)[end] for name in by_chip.columns] for end in (0, 1))
        settings: dict[str, Any] = {"resamples": self.resamples, "bounds": (lowest, highest)}
        return mean_intervals(by_chip.to_numpy(float), by_chip.index, rng=self._rng(), **settings)

    def _intervals(self, part: pd.DataFrame, how: str) -> dict[str, object]:
        names = ("violated", "given_up")
        means = self._means(part[list(names)])
        row: dict[str, object] = {}
        for name, interval in zip(names, means, strict=True):
            key = f"{how}_{name}"
            row |= {key: interval.value, f"{key}_low": interval.low, f"{key}_high": interval.high}
        return row


def evaluate(
    frame: pd.DataFrame,
    options: PredictionOptions,
    evaluation: EvaluationOptions,
    rng: np.random.Generator,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> Evaluation:
    """Return how well each configuration of `frame` is predicted from the others.

    `progress` is called with the number of configurations done and the total.

    Raises
    ------
    DataError
        If the history does not support any of the protocols.
    """
    history, _ = history_of(frame)
    work, refused = _work(history, evaluation)
    trials = []
    for done, held in enumerate(work):
        trials.append(run_trial(history, held, options, evaluation, rng))
        if progress:
            progress(done + 1, len(work))
    new_models = pd.DataFrame()
    if "model" in evaluation.protocols:
        new_models = new_model_rows(history, options, min_models=evaluation.min_models)
    if not trials and not len(new_models):
        raise DataError("nothing to evaluate: " + "; ".join(refused.values()))
    return Evaluation(
        scores=_frame(trials, "scores"),
        budgets=_frame(trials, "budgets"),
        families=_frame(trials, "families"),
        reliability=_frame(trials, "reliability"),
        new_models=new_models,
        refused=refused,
        confidence=options.confidence,
        resamples=evaluation.resamples,
        seed=int(rng.integers(2**31)),
    )


def _work(history: ResultMatrix, evaluation: EvaluationOptions) -> tuple[list[HeldOut], dict[str, str]]:
    work: list[HeldOut] = []
    refused = {}
    for protocol in evaluation.protocols:
        if protocol == "model":
            continue
        try:
            work += held_out(history, protocol, min_models=evaluation.min_models)
        except DataError as error:
            refused[protocol] = str(error)
    return [item for item in work if item.training.any()], refused


def _frame(trials: Sequence[Trial], name: str) -> pd.DataFrame:
    return pd.DataFrame([row for trial in trials for row in getattr(trial, name)])


def _by_chip(budgets: pd.DataFrame) -> pd.DataFrame:
    """Return the mean violation and accuracy given up by safety factor and chip; configurations have equal weight."""
    weighted = budgets.assign(
        violated=budgets["violated"] * budgets["weight"], given_up=budgets["given_up"] * budgets["weight"]
    )
    sums = weighted.groupby(["factor", "chip"])[["violated", "given_up", "weight"]].sum()
    return sums[["violated", "given_up"]].div(sums["weight"], axis=0)


def _same_violations(by_chip: pd.DataFrame, rate: float) -> dict[str, object]:
    means = by_chip.groupby("factor")[["violated", "given_up"]].mean()
    fixed = means[(means.index >= 1.0) & (means["violated"] <= rate + 1e-12)]
    if not len(fixed):
        return {"same_violations_factor": np.nan, "same_violations_given_up": np.nan}
    return {"same_violations_factor": fixed.index[0], "same_violations_given_up": fixed["given_up"].iloc[0]}


def _sentence(row: pd.Series) -> str:
    error = f", error of unmeasured latencies {row['mape']:.1%}" if np.isfinite(row.get("mape", np.nan)) else ""
    return (
        f"Leave one {row['protocol']} out, {int(row['anchors'])} planned anchors: frontier F1 {row['f1']:.3f} "
        f"({row['f1_low']:.3f} to {row['f1_high']:.3f}), Spearman {row['spearman']:.3f}{error}, "
        f"intervals cover {row['coverage']:.1%} ({row['chips']} chips)."
    )
