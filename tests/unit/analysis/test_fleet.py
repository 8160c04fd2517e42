import numpy as np
import pandas as pd
import pytest
from test_rows import device, frame, row

from frm_mlflow.analysis.options import AnalysisOptions
from frm_mlflow.analysis.selection import select_fleet


def fleet_of(*rows):
    return select_fleet(frame(*rows), AnalysisOptions()).fleet


def test_matrices_hold_what_the_rows_say():
    fleet = fleet_of(*device("phone"), *device("tablet")[:3])
    assert fleet.models == ("a", "b", "c", "d", "e", "resnet50")
    assert fleet.devices.tolist() == ["phone", "tablet"]
    assert fleet.latency_ms[0].tolist() == [20, 30, 40, 50, 60, 10]
    assert fleet.measured[1].tolist() == [True, True, False, False, False, True]
    assert fleet.run_ids[1].tolist() == ["a-tablet", "b-tablet", "", "", "", "resnet50-tablet"]


def test_frm_is_the_hand_calculation_and_the_baselines_is_one():
    fleet = fleet_of(*device("phone"))
    assert fleet.frm()[0].tolist() == pytest.approx([2, 3, 4, 5, 6, 1], abs=1e-12)
    assert fleet.frm()[0, 5] == 1.0
    assert fleet.frm("a")[0, 5] == pytest.approx(0.5)


def test_a_run_keeps_the_ratio_of_its_own_window():
    rows = device("phone")
    rows[1] |= {"ratio_latency": 1.5, "ratio_source": "interleaved", "baseline": "resnet50"}
    fleet = fleet_of(*rows)
    assert fleet.ratios()["latency"][0, :2].tolist() == [1.5, 3.0]
    assert fleet.ratios("b")["latency"][0, 0] == pytest.approx(20 / 30)


def test_a_ratio_against_another_baseline_is_not_taken():
    rows = device("phone")
    rows[1] |= {"ratio_latency": 1.5, "ratio_source": "interleaved", "baseline": "mobilenet_v2"}
    assert fleet_of(*rows).ratios()["latency"][0, 0] == 2.0


def test_missing_memory_leaves_latency_but_no_frm():
    fleet = fleet_of(*device("phone", memory_mib=np.nan))
    assert np.isnan(fleet.frm()).all()
    assert fleet.ratios()["latency"][0, 0] == 2.0


def test_a_baseline_that_nobody_measured_has_no_frm():
    assert np.isnan(fleet_of(*device("phone")).frm("vgg16")).all()


def test_the_chip_falls_back_to_the_device():
    assert sorted(fleet_of(*device("phone", chip="soc"), *device("tablet")).chips) == ["soc", "tablet"]


def test_the_commonest_family_counts():
    rows = [row("a", family="cnn"), row("a", family="cnn", device="x"), row("a", family="other", device="y")]
    rows += [row("resnet50", device=d) for d in ("phone", "x", "y")]
    assert fleet_of(*rows).families == ("cnn", "other")


def test_seconds_of_imported_runs_are_not_known():
    times = {"start_time": pd.Timestamp("2025-12-31 23:59:30", tz="UTC")}
    measured = fleet_of(*device("phone", source="measured", **times))
    imported = fleet_of(*device("phone", source="imported:aihub", **times))
    assert set(measured.seconds[0]) == {30.0}
    assert np.isnan(imported.seconds).all()


def test_select_by_mask_and_by_position():
    fleet = fleet_of(*device("phone"), *device("tablet"))
    assert fleet.select(fleet.devices == "tablet").devices.tolist() == ["tablet"]
    assert fleet.select(np.array([1, 0])).devices.tolist() == ["tablet", "phone"]
