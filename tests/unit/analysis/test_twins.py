"""Each analysis against its brute-force twin, on a matrix with gaps and on the made-up 13 x 106 one."""

import naive_twins as twin
import numpy as np
import pandas as pd
import pytest

from frm_mlflow.analysis import (
    disagreement,
    failures,
    frontiers,
    interaction,
    ranking,
    sensitivity,
    stability,
    transfer,
)
from frm_mlflow.analysis.concordance import BANDS
from frm_mlflow.analysis.options import AnalysisOptions

PREDICTORS = ("frm", "latency", "memory", "flops", "params")


def by(table: pd.DataFrame, keys: list[str], value: str) -> dict:
    return {tuple(row[k] for k in keys): row[value] for row in table.to_dict("records")}


def test_leaderboard(small, naive, options, rng):
    board = ranking.compute(small, options, rng).tables["leaderboard"]
    labels = naive["device"] + " · " + naive["runtime"] + " · " + naive["precision"] + " · " + naive["compute_unit"]
    expected = dict(zip(zip(labels, naive["model"], strict=True), naive["frm"], strict=True))
    found = by(board, ["configuration", "model"], "frm")
    assert found.keys() == expected.keys()
    assert all(found[key] == pytest.approx(expected[key], rel=1e-12) for key in expected)
    for _, rows in board.groupby("configuration"):
        assert rows["rank"].tolist() == rows["frm"].rank().tolist()
        table = rows.set_index("model")
        assert set(table.index[table["frontier"]]) == twin.frontier(table["frm"], table["top1"])


def test_component_subsets(small, naive, options, rng):
    table = ranking.compute(small, options, rng).tables["components"].set_index("components")
    found = [twin.rho(t["frm"], t["latency_ms"]) for t in twin.tables_of(naive).values()]
    assert table.loc["latency", "rho"] == pytest.approx(np.nanmean(found))
    without_memory = [twin.rho(t["frm"], t["gmacs"] * t["latency_ms"]) for t in twin.tables_of(naive).values()]
    assert table.loc["flops + latency", "rho"] == pytest.approx(np.nanmean(without_memory))


@pytest.mark.parametrize("metric", ["frm", "latency", "memory"])
def test_disagreement(small, naive, options, rng, metric):
    tables = disagreement.compute(small, options, rng).tables
    row = tables["summary"].set_index("metric").loc[metric]
    expected = twin.disagreements(naive, metric)
    cases = expected[expected["case"]]
    assert row["benchmarks"] == len(expected)
    assert row["cases"] == len(cases)
    assert row["promoted"] == (cases["gained"] > 0).sum()
    assert row["affected"] == cases["configuration"].nunique()
    assert row["share"] == pytest.approx(expected["case"].mean())
    if metric == "frm":
        for group in ("tier", "family", "model"):
            found = tables[f"by_{group}"].set_index(group)["cases"].to_dict()
            assert found == expected.groupby(group)["case"].sum().to_dict()


@pytest.mark.parametrize("metric", [*PREDICTORS, "accuracy"])
def test_stability(small, naive, options, rng, metric):
    table = stability.compute(small, options, rng).tables["metrics"].set_index("metric")
    assert table.loc[metric, "rho"] == pytest.approx(twin.stability(naive, metric))


def test_tier_transfer(small, naive, options, rng):
    table = transfer.compute(small, options, rng).tables["sides"]
    for row in table.to_dict("records"):
        rho, tau = twin.tier_transfer(naive, row["predictor"], row["predicts"], row["source"], row["target"])
        assert row["rho"] == pytest.approx(rho, abs=1e-9)
        assert row["tau_b"] == pytest.approx(tau, abs=1e-5)


@pytest.mark.parametrize(("axis", "a", "b"), [("runtime", "onnxruntime", "torch"), ("precision", "fp32", "int8")])
def test_matched_transfer(small, naive, options, rng, axis, a, b):
    table = transfer.compute(small, options, rng).tables[f"{axis}s"]
    found = by(table, [axis, "other", "metric"], "rho")
    for metric in ("frm", "latency", "memory"):
        assert found[a, b, metric] == pytest.approx(twin.matched(naive, axis, a, b, metric))


def test_concordance(small, naive, options, rng):
    table = transfer.compute(small, options, rng).tables["concordance"]
    edges = [1.0, *(upper for _, upper in BANDS)]
    for row in table[(table["source"] == "gpu") & (table["target"] == "edge")].to_dict("records"):
        place = [name for name, _ in BANDS].index(row["band"])
        expected = twin.right_decisions(naive, row["predictor"], "gpu", "edge", edges[place], edges[place + 1])
        assert row["right"] == pytest.approx(expected)


@pytest.mark.parametrize(("predictor", "objective"), [("frm", "frm"), ("flops", "latency"), ("latency", "latency")])
def test_transferred_frontiers(small, naive, options, rng, predictor, objective):
    table = frontiers.compute(small, options, rng).tables["sides"]
    rows = table[(table["predictor"] == predictor) & (table["objective"] == objective) & (table["source"] == "gpu")]
    assert set(rows["target"]) == {"cpu", "edge", "gpu"}
    for row in rows.to_dict("records"):
        expected = twin.transferred(naive, predictor, objective, row["source"], row["target"])
        assert row["pairs"] == len(expected)
        for score in ("f1", "precision", "recall", "failure", "regret", "hypervolume"):
            assert row[score] == pytest.approx(expected[score].mean(), rel=1e-6), score


def test_failures_by_family(small, naive, options, rng):
    table = failures.compute(small, options, rng).tables["by_family"]
    families = naive.drop_duplicates("model").set_index("model")["family"]
    chosen = table[(table["source"] == "gpu") & (table["target"] == "edge") & (table["objective"] == "frm")]
    pairs = twin.transferred(naive, "frm", "frm", "gpu", "edge")
    for row in chosen.to_dict("records"):
        cases = sum(sum(families[m] == row["family"] for m in common) for common in pairs["common"])
        wrong = sum(sum(families[m] == row["family"] for m in models) for models in pairs["wrong"])
        assert row["cases"] == cases
        assert row["failure_rate"] * cases == pytest.approx(wrong)


def test_flipped_pairs(small, naive, options, rng):
    table = failures.compute(small, options, rng).tables["flips"]
    for row in table[(table["metric"] == "latency")].groupby(["source", "target"]).head(3).to_dict("records"):
        expected = twin.flipped_share(
            naive, row["source"], row["target"], row["looked_cheaper"], row["is_cheaper"], "latency"
        )
        assert row["flipped"] == pytest.approx(expected)


@pytest.mark.parametrize("unit", ["row", "chip"])
def test_interaction(small, naive, options, rng, unit):
    table = interaction.compute(small, options, rng).tables["tests"]
    for row in table[table["unit"] == unit].to_dict("records"):
        u, p = twin.interaction(naive, row["model"], row["side"], row["other"], unit)
        assert (row["u"], row["p"]) == (pytest.approx(u), pytest.approx(p))


def test_sensitivity_to_precision(small, naive, options, rng):
    table = sensitivity.compute(small, options, rng).tables["axes"]
    found = by(table[table["axis"] == "precision"], ["level", "other", "metric"], "rho")
    assert found["fp32", "int8", "latency"] == pytest.approx(
        twin.matched(naive, "precision", "fp32", "int8", "latency")
    )


class TestPaperSize:
    """The made-up 13 x 106 matrix: complete, so every pair shares all models."""

    def test_stability_and_its_interval(self, paper, paper_frame, rng):
        naive = twin.with_frm(paper_frame)
        row = (
            stability.compute(paper, AnalysisOptions(resamples=2000, shuffles=10), rng)
            .tables["metrics"]
            .set_index("metric")
            .loc["latency"]
        )
        assert row["rho"] == pytest.approx(twin.stability(naive, "latency"))
        low, high = twin.bootstrap_pair_mean(naive, "latency", 300, np.random.default_rng(5))
        assert (row["low"], row["high"]) == (pytest.approx(low, abs=0.006), pytest.approx(high, abs=0.006))

    def test_disagreements(self, paper, paper_frame, options, rng):
        expected = twin.disagreements(twin.with_frm(paper_frame), "frm")
        row = disagreement.compute(paper, options, rng).tables["summary"].iloc[0]
        assert (row["benchmarks"], row["cases"]) == (13 * 106, expected["case"].sum())

    def test_tier_transfer(self, paper, paper_frame, options, rng):
        naive = twin.with_frm(paper_frame)
        found = by(
            transfer.compute(paper, options, rng).tables["sides"], ["source", "target", "predictor", "predicts"], "rho"
        )
        for predictor, predicts in (("frm", "itself"), ("flops", "frm"), ("latency", "itself")):
            rho, _ = twin.tier_transfer(naive, predictor, predicts, "gpu", "edge")
            assert found["gpu", "edge", predictor, predicts] == pytest.approx(rho)

    def test_transferred_frontiers(self, paper, paper_frame, options, rng):
        naive = twin.with_frm(paper_frame)
        found = by(
            frontiers.compute(paper, options, rng).tables["sides"], ["source", "target", "objective", "predictor"], "f1"
        )
        expected = twin.transferred(naive, "frm", "frm", "gpu", "cpu")["f1"].mean()
        assert found["gpu", "cpu", "frm", "frm"] == pytest.approx(expected)
