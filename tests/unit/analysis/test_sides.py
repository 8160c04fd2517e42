"""One machine's runtimes replace tiers, and every analysis states that."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from test_rows import device, frame

from frm_mlflow.analysis.options import AnalysisOptions
from frm_mlflow.analysis.registry import ANALYSES, AnalysisReport, run_all
from frm_mlflow.analysis.selection import selection_of
from frm_mlflow.analysis.synthetic import paper_sized_frame

OPTIONS = AnalysisOptions(resamples=200, shuffles=10)
COMPARING = ("transfer", "stability", "interaction", "pareto", "failures")


def analysed(rows: pd.DataFrame) -> AnalysisReport:
    return run_all(rows, options=OPTIONS, rng=np.random.default_rng(0))


@pytest.fixture(scope="module")
def catalogue() -> pd.DataFrame:
    """One machine: three runtimes in two precisions; one runtime runs one network four times as slowly."""
    rows = [
        row
        for runtime in ("openvino", "onnxruntime", "litert")
        for precision in ("fp32", "int8")
        for row in device("cpu", runtime=runtime, precision=precision, chip="Xeon", tier="cpu")
    ]
    table = frame(*rows)
    slow = (table["runtime"] == "litert") & (table["model"] == "b")
    table.loc[slow, "latency_ms"] *= 4
    return table


def test_all_nine_answer_for_one_machine_with_several_runtimes(catalogue: pd.DataFrame):
    report = analysed(catalogue)
    assert set(report.results) == set(ANALYSES) - {"paper"}  # only one of its models is present
    for name, result in report.results.items():
        said = "runtimes are compared in place of tiers" in result.sentences[0]
        assert said == (name in COMPARING)
        assert not next(iter(result.tables.values())).empty
    assert "one chip (Xeon)" in report.results["stability"].sentences[0]


def test_a_difference_between_runtimes_is_detected(catalogue: pd.DataFrame):
    tables = {name: result.tables for name, result in analysed(catalogue).results.items()}
    tests = tables["interaction"]["tests"]
    worst = tests.loc[(tests["effect"].apply(np.log)).abs().idxmax()]
    assert (worst["model"], {worst["side"], worst["other"]} & {"litert"}) == ("b", {"litert"})
    assert np.exp(abs(np.log(worst["effect"]))) == pytest.approx(4)
    chips = tests[tests["unit"] == "chip"]
    assert not chips["can_be_significant"].any(), "one chip proves nothing"
    assert chips["low"].isna().all()
    assert set(tables["interaction"]["within_side"]["chips"]) == {1}
    flips = tables["failures"]["flips"]
    flipped = flips[flips["metric"] == "latency"]
    assert set(flipped["looked_cheaper"]) | set(flipped["is_cheaper"]) >= {"b"}
    assert {"litert"} <= set(flipped["source"]) | set(flipped["target"])
    stability = tables["stability"]["metrics"].set_index("metric")
    assert stability.loc["latency", "pairs"] == 12, "configurations of one runtime are not compared with each other"


def test_one_chip_has_no_interval_however_many_runtimes_it_has():
    rows = [
        row
        for number in range(7)
        for row in device("cpu", runtime=f"runtime{number}", chip="Xeon", tier="cpu", run_id=f"r{number}")
    ]
    results = analysed(frame(*rows)).results
    for name, table in (("stability", "metrics"), ("transfer", "runtimes"), ("transfer", "sides"), ("pareto", "sides")):
        found = results[name].tables[table]
        assert len(found)
        assert found["low"].isna().all()
        assert set(found["chips"]) <= {0, 1}
    rho = results["stability"].tables["metrics"].set_index("metric")["rho"]
    assert rho["latency"] == pytest.approx(1)


def test_one_runtime_compares_its_precisions():
    rows = [row for precision in ("fp32", "int8") for row in device("cpu", precision=precision, chip="Xeon")]
    selection = selection_of(frame(*rows), OPTIONS)
    assert "precisions are compared in place of tiers" in selection.stand_in
    assert set(selection.comparable.sides) == {"fp32", "int8"}
    assert set(selection.comparable.units) == {"Xeon · fp32", "Xeon · int8"}
    assert set(selection.matrix.units) == {"Xeon"}


def test_two_chips_of_a_tier_stay_what_counts():
    rows = [
        row
        for chip in ("a", "b")
        for runtime in ("litert", "onnxruntime")
        for row in device(f"phone-{chip}", chip=chip, runtime=runtime)
    ]
    selection = selection_of(frame(*rows), AnalysisOptions(count_duplicates=True))
    assert set(selection.comparable.sides) == {"litert", "onnxruntime"}
    assert set(selection.comparable.units) == {"a", "b"}
    assert "one chip" not in selection.stand_in


def test_with_tiers_nothing_stands_in():
    selection = selection_of(paper_sized_frame(np.random.default_rng(0)), OPTIONS)
    assert selection.stand_in == ""
    assert list(selection.comparable.sides) == list(selection.comparable.tiers)
    assert list(selection.comparable.units) == list(selection.comparable.chips)


@pytest.mark.parametrize("unit", ["row", "chip"])
def test_runtimes_of_the_same_chips_are_compared_by_pairs(unit: str):
    """Chips differ by a factor of ten in this ratio; litert is 20 % slower on each of them."""
    rng = np.random.default_rng(0)
    rows = [
        row
        for chip in range(8)
        for runtime in ("onnxruntime", "litert")
        for row in device(f"phone {chip}", runtime=runtime, precision="fp32", chip=f"chip {chip}", tier="edge")
    ]
    table = frame(*rows)
    of_b = table["model"] == "b"
    factor = dict(zip(sorted(set(table["chip"])), np.geomspace(1, 10, 8) * rng.permutation(8), strict=True))
    table.loc[of_b, "latency_ms"] *= table["chip"].map(lambda chip: 1 + factor[chip])
    table.loc[of_b & (table["runtime"] == "litert"), "latency_ms"] *= 1.2
    tests = analysed(table).results["interaction"].tables["tests"]
    found = tests[(tests["unit"] == unit) & (tests["model"] == "b")].iloc[0]
    assert found["paired"]
    assert found["n"] == found["n_other"] == 8
    assert found["p"] == pytest.approx(2 / 2**8)
    assert found["effect"] == pytest.approx(1.2)
