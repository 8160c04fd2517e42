import numpy as np
import pandas as pd
import pytest
from test_rows import device, frame, row

from frm_mlflow.analysis.options import AnalysisOptions
from frm_mlflow.analysis.selection import selection_of


def matrix_of(*rows):
    return selection_of(frame(*rows), AnalysisOptions()).matrix


def test_matrix_cells_equal_the_rows():
    matrix = matrix_of(*device("phone"), *device("tablet")[:3])
    assert matrix.models == ("a", "b", "c", "d", "e", "resnet50")
    assert matrix.devices.tolist() == ["phone", "tablet"]
    assert matrix.latency_ms[0].tolist() == [20, 30, 40, 50, 60, 10]
    assert matrix.measured[1].tolist() == [True, True, False, False, False, True]
    assert matrix.run_ids[1].tolist() == ["a-tablet", "b-tablet", "", "", "", "resnet50-tablet"]


def test_frm_is_the_hand_calculation_and_the_baselines_is_one():
    matrix = matrix_of(*device("phone"))
    assert matrix.frm()[0].tolist() == pytest.approx([2, 3, 4, 5, 6, 1], abs=1e-12)
    assert matrix.frm()[0, 5] == 1.0
    assert matrix.frm("a")[0, 5] == pytest.approx(0.5)


def test_a_run_keeps_its_interleaved_ratio():
    rows = device("phone")
    rows[1] |= {"ratio_latency": 1.5, "ratio_source": "interleaved", "baseline": "resnet50"}
    matrix = matrix_of(*rows)
    assert matrix.ratios()["latency"][0, :2].tolist() == [1.5, 3.0]
    assert matrix.ratios("b")["latency"][0, 0] == pytest.approx(20 / 30)


def test_a_ratio_against_another_baseline_is_not_taken():
    rows = device("phone")
    rows[1] |= {"ratio_latency": 1.5, "ratio_source": "interleaved", "baseline": "mobilenet_v2"}
    assert matrix_of(*rows).ratios()["latency"][0, 0] == 2.0


def test_missing_memory_leaves_latency_but_no_frm():
    matrix = matrix_of(*device("phone", memory_mib=np.nan))
    assert np.isnan(matrix.frm()).all()
    assert matrix.ratios()["latency"][0, 0] == 2.0


def test_an_unmeasured_baseline_has_no_frm():
    assert np.isnan(matrix_of(*device("phone")).frm("vgg16")).all()


def test_the_chip_falls_back_to_the_device():
    assert sorted(matrix_of(*device("phone", chip="soc"), *device("tablet")).chips) == ["soc", "tablet"]


def test_the_commonest_family_counts():
    rows = [row("a", family="cnn"), row("a", family="cnn", device="x"), row("a", family="other", device="y")]
    rows += [row("resnet50", device=d) for d in ("phone", "x", "y")]
    assert matrix_of(*rows).families.tolist() == ["cnn", "other"]


def test_imported_runs_have_no_duration():
    times = {"start_time": pd.Timestamp("2025-12-31 23:59:30", tz="UTC")}
    measured = matrix_of(*device("phone", source="measured", **times))
    imported = matrix_of(*device("phone", source="imported:aihub", **times))
    assert set(measured.seconds[0]) == {30.0}
    assert np.isnan(imported.seconds).all()


def test_select_by_mask_and_by_position():
    matrix = matrix_of(*device("phone"), *device("tablet"))
    assert matrix.select(matrix.devices == "tablet").devices.tolist() == ["tablet"]
    assert matrix.select(np.array([1, 0])).devices.tolist() == ["tablet", "phone"]
