"""One value per model for accuracy, parameters and operations, whatever the source."""

import numpy as np
import pytest
from test_rows import device, frame, row

from frm_mlflow.analysis.facts import own_accuracy
from frm_mlflow.analysis.frontier_transfer import score_pairs
from frm_mlflow.analysis.options import AnalysisOptions
from frm_mlflow.analysis.rows import usable_rows
from frm_mlflow.analysis.selection import selection_of
from frm_mlflow.errors import ConfigError


def accuracies(*rows, **options):
    kept, left_out = usable_rows(frame(*rows), AnalysisOptions(**options))
    return dict(zip(kept["device"] + "/" + kept["precision"], kept["top1"], strict=True)), left_out


def test_one_accuracy_per_model_and_replaced_ones_are_counted():
    found, left_out = accuracies(
        row("resnet50", top1=76.1),
        row("resnet50", device="tablet", top1=76.1),
        row("resnet50", device="cpu", top1=80.9),
    )
    assert set(found.values()) == {76.1}
    assert [(item.rows, item.detail) for item in left_out] == [(1, "resnet50: 80.9 → 76.1 (1)")]


def test_published_accuracy_precedes_measured_accuracy():
    measured = [row(device=d, top1=75.0, accuracy_source="measured on 1000 images of val") for d in ("x", "y", "z")]
    found, _ = accuracies(row(top1=76.1, accuracy_source="torchvision"), *measured)
    assert set(found.values()) == {76.1}


def test_of_values_equally_common_the_lower_median_counts():
    found, _ = accuracies(*(row(device=d, top1=t) for d, t in zip("pqrs", (71.0, 74.0, 72.0, 73.0), strict=True)))
    assert set(found.values()) == {72.0}


def test_int8_does_not_carry_the_accuracy_of_fp32():
    found, left_out = accuracies(row(top1=76.1), row(precision="int8", top1=76.1))
    assert found["phone/fp32"] == 76.1
    assert np.isnan(found["phone/int8"])
    assert "float network" in left_out[0].reason


def test_int8_carries_what_was_measured_in_int8():
    found, _ = accuracies(
        row(top1=76.1),
        row(precision="int8", top1=76.1, top1_device=74.9),
        row(device="tablet", precision="int8", top1=74.9, accuracy_source="measured on 50000 images of val"),
    )
    assert found == {"phone/fp32": 76.1, "phone/int8": 74.9, "tablet/int8": 74.9}


def test_the_published_figure_can_be_asked_for():
    found, left_out = accuracies(row(top1=76.1), row(precision="int8", top1=76.1), quantised_accuracy="float")
    assert set(found.values()) == {76.1}
    assert left_out == []
    with pytest.raises(ConfigError, match="own, float"):
        AnalysisOptions(quantised_accuracy="fp32")


def test_a_row_without_accuracy_gets_none():
    found, _ = accuracies(row(top1=76.1), row(device="tablet", top1=np.nan))
    assert np.isnan(found["tablet/fp32"])


def test_operations_are_one_per_input_size():
    rows, _ = usable_rows(
        frame(row(gmacs=4.1), row(device="x", gmacs=4.1), row(device="y", gmacs=3.9), row(resolution="320", gmacs=8.3)),
        AnalysisOptions(),
    )
    assert rows["gmacs"].tolist() == [4.1, 4.1, 4.1, 8.3]


def test_what_was_counted_comes_before_a_rounded_catalogue():
    listed = [row(device=d, gmacs=0.31, flops_source="catalogue") for d in ("x", "y", "z")]
    rows, _ = usable_rows(frame(row(gmacs=0.3047, flops_source="counted"), *listed), AnalysisOptions())
    assert set(rows["gmacs"]) == {0.3047}


def test_the_ratio_of_operations_is_that_of_the_facts():
    rows = device("phone")
    rows[1] |= {"ratio_flops": 9.0, "ratio_source": "interleaved", "baseline": "resnet50"}
    assert selection_of(frame(*rows), AnalysisOptions()).matrix.ratios()["flops"][0, 0] == 2.0


def test_a_transferred_frontier_uses_the_targets_accuracies():
    cost = np.array([[1.0, 2.0, 3.0], [1.0, 2.0, 3.0]])
    top1 = np.array([[70.0, 71.0, 72.0], [70.0, 69.0, 72.0]])
    scores = score_pairs(cost, cost, top1, dominance="strict", min_models=1)
    assert scores.f1.tolist() == [[1, 1], [1, 1]]


def test_a_float_row_keeps_its_accuracy():
    assert own_accuracy(frame(row(top1=70.0))).tolist() == [70.0]
