"""int8 and fp32 together: one baseline for both."""

import numpy as np
import pytest
from test_rows import frame, row

from frm_mlflow.analysis.common_baseline import against_common_baseline
from frm_mlflow.analysis.options import AnalysisOptions
from frm_mlflow.analysis.ranking import leaderboard
from frm_mlflow.analysis.selection import selection_of


def benchmarks(*rows):
    return selection_of(frame(*rows), AnalysisOptions())


def squeezenet(fp32=(80.0, 100.0), **others):
    """ResNet-50 and SqueezeNet in fp32 and int8: int8 is faster and smaller for both."""
    return [
        row("resnet50", latency_ms=fp32[0], memory_mib=fp32[1], gmacs=4.0, **others),
        row("a", latency_ms=8.0, memory_mib=10.0, gmacs=0.4, **others),
        row("resnet50", precision="int8", latency_ms=20.0, memory_mib=25.0, gmacs=4.0, **others),
        row("a", precision="int8", latency_ms=5.0, memory_mib=6.0, gmacs=0.4, **others),
    ]


def test_faster_int8_is_cheaper_against_the_common_baseline():
    board = leaderboard(benchmarks(*squeezenet()).matrix, AnalysisOptions())
    at = {(r["model"], "int8" in r["configuration"]): r for r in board.to_dict("records")}
    assert at["a", True]["frm"] > at["a", False]["frm"]
    assert at["a", True]["frm_common"] < at["a", False]["frm_common"]
    assert at["a", False]["frm_common"] == pytest.approx(at["a", False]["frm"])
    assert at["a", True]["frm_common"] == pytest.approx((0.1 * 5 / 80 * 6 / 100) ** (1 / 3))
    assert at["resnet50", True]["frm_common"] == pytest.approx((20 / 80 * 25 / 100) ** (1 / 3))
    assert set(board["common_baseline"]) == {"resnet50 · fp32"}


def test_the_widest_precision_serves_if_there_is_no_fp32():
    rows = [r | {"precision": {"fp32": "fp16"}.get(r["precision"], "int8")} for r in squeezenet()]
    board = leaderboard(benchmarks(*rows).matrix, AnalysisOptions())
    assert set(board["common_baseline"]) == {"resnet50 · fp16"}


def test_another_compute_unit_is_no_common_baseline():
    rows = [r | {"compute_unit": "npu" if r["precision"] == "int8" else "cpu"} for r in squeezenet()]
    board = leaderboard(benchmarks(*rows).matrix, AnalysisOptions())
    assert set(board["common_baseline"]) == {"resnet50 · fp32", "resnet50 · int8"}


def test_without_the_baseline_there_is_no_figure():
    rows = frame(*[r for r in squeezenet() if r["model"] != "resnet50"]).assign(frm=0.5)
    found = against_common_baseline(rows, baseline="resnet50")
    assert np.isnan(found["frm_common"]).all()
    assert set(found["common_baseline"]) == {""}
