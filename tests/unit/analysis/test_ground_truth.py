"""Fleets whose true results are known without computation."""

import numpy as np
import pytest

from frm_mlflow.analysis.options import AnalysisOptions
from frm_mlflow.analysis.registry import run_all
from frm_mlflow.analysis.synthetic import PAPER_TIERS, SyntheticRecipe, paper_sized_frame, synthetic_frame

OPTIONS = AnalysisOptions(resamples=300, shuffles=20)


def report_of(frame, *names, options=OPTIONS):
    return run_all(frame, names, options=options, rng=np.random.default_rng(0))


@pytest.fixture(scope="module")
def alike():
    """The paper's matrix with every spread set to zero: the same ranking everywhere."""
    recipe = SyntheticRecipe(devices=PAPER_TIERS, tier_spread=0, chip_spread=0, noise=0, memory_spread=0)
    return report_of(synthetic_frame(recipe, np.random.default_rng(1)), "all", options=OPTIONS)


def test_the_papers_size():
    frame = paper_sized_frame(np.random.default_rng(0))
    assert (len(frame), frame["model"].nunique(), frame["device"].nunique()) == (1378, 13, 106)


def test_alike_devices_are_perfectly_stable(alike):
    table = alike.results["stability"].tables["metrics"].set_index("metric")
    assert table["rho"].to_dict() == pytest.approx(dict.fromkeys(table.index, 1.0))
    assert table.loc["frm", ["low", "high"]].isna().all()  # if all chips agree, there is no spread to resample


def test_alike_devices_transfer_everything(alike):
    tiers = alike.results["transfer"].tables["sides"]
    assert tiers[tiers["predicts"] == "itself"]["rho"].to_numpy() == pytest.approx(1)
    pareto = alike.results["pareto"].tables["sides"]
    own = pareto[pareto["predictor"] == pareto["objective"]]
    for score, value in (("f1", 1), ("precision", 1), ("recall", 1), ("hypervolume", 1), ("regret", 0), ("failure", 0)):
        assert own[score].to_numpy() == pytest.approx(value), score


def test_identical_devices_neither_fail_nor_interact(alike):
    assert alike.results["failures"].tables["by_family"]["failure_rate"].max() == 0
    assert alike.results["failures"].tables["flips"].empty
    share = alike.results["interaction"].tables["share"]
    assert share["significant_holm"].max() == 0
    assert alike.results["interaction"].tables["tests"]["effect"].to_numpy() == pytest.approx(1)


def test_latency_proportional_to_flops_never_disagrees(alike):
    summary = alike.results["disagreement"].tables["summary"].set_index("metric")
    assert summary.loc["latency", "cases"] == 0


def test_alike_devices_still_leave_the_shuffled_control_behind(alike):
    shuffled = alike.results["stability"].tables["shuffled"].set_index("metric")["mean"]
    assert 0.2 < shuffled["frm_shuffled"] < shuffled["frm_latency_shuffled"] < 0.95


def test_an_inserted_effect_is_detected():
    recipe = SyntheticRecipe(devices={"gpu": 12, "edge": 12}, tier_spread=0, chip_spread=0.02, noise=0.01)
    frame = synthetic_frame(recipe, np.random.default_rng(2))
    slow = (frame["model"] == "levit_128s") & (frame["tier"] == "gpu")
    frame.loc[slow, "latency_ms"] *= 3
    tests = report_of(frame, "interaction").results["interaction"].tables["tests"]
    levit = tests[(tests["unit"] == "chip") & (tests["model"] == "levit_128s")].iloc[0]
    assert levit["effect"] == pytest.approx(3, rel=0.03)
    assert levit["low"] < 3 < levit["high"]
    assert levit["cliffs_delta"] == 1
    assert levit["p_holm"] < 0.001


def test_repeated_rows_of_a_chip_are_significant_by_rows_only():
    recipe = SyntheticRecipe(
        devices={"gpu": 4, "edge": 4}, runtimes=("a", "b", "c", "d"), tier_spread=0.8, chip_spread=0, noise=0.01
    )
    share = (
        report_of(synthetic_frame(recipe, np.random.default_rng(3)), "interaction")
        .results["interaction"]
        .tables["share"]
    )
    by_unit = share.set_index("unit")
    assert by_unit.loc["row", "significant_holm"] > 0.9
    assert by_unit.loc["chip", ["significant_holm", "can_be_significant"]].tolist() == [0, 0]


def test_three_baselines_agree_by_algebra():
    table = report_of(paper_sized_frame(np.random.default_rng(4)), "frm").results["frm"].tables["baselines"]
    assert table["same_order"].tolist() == [106, 106, 106]
    assert np.ptp(table[["stability", "stability_other"]].to_numpy()) < 1e-12


def test_papers_cost_line():
    table = (
        report_of(paper_sized_frame(np.random.default_rng(5)), "cost")
        .results["cost"]
        .tables["summary"]
        .set_index("unit")
    )
    row = table.loc["device"]
    assert (row["full_runs"], row["reference_runs"], row["saved_runs"]) == (1378, 13, 1365)
    assert round(100 * row["saved_share"], 1) == 99.1
    assert row["saved_seconds"] == 1365 * 30


def test_doubling_flops_moves_a_model_past_close_ones_only():
    table = report_of(paper_sized_frame(np.random.default_rng(6)), "frm").results["frm"].tables["counter"]
    assert (table["ranks_if_doubled"] >= 0).all()
    assert (table["ranks_if_halved"] <= 0).all()


def test_gains_from_batching_show_in_frm_per_sample_only():
    recipe = SyntheticRecipe(devices={"gpu": 2}, noise=0)
    one = synthetic_frame(recipe, np.random.default_rng(7))
    eight = one.assign(batch_size="8", latency_ms=one["latency_ms"] * 4, memory_mib=one["memory_mib"] * 8)
    import pandas as pd

    result = report_of(pd.concat([one, eight]), "sensitivity", "frm")
    batch = (
        result.results["sensitivity"]
        .tables["batch"]
        .pivot_table(index="model", columns="batch_size", values="frm_per_sample")
    )
    assert (batch[8] / batch[1]).to_numpy() == pytest.approx(0.5 ** (1 / 3))
    axes = result.results["sensitivity"].tables["axes"].set_index("metric")
    assert (axes.loc["frm", "rho"], axes.loc["latency", "factor"]) == (pytest.approx(1), pytest.approx(4))
