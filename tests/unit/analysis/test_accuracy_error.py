"""The effect of accuracy's sampling error alone on a frontier, and that each analysis has its controls."""

import numpy as np
import pytest
from scipy.stats import norm
from test_rows import device, frame

from frm_mlflow.analysis.controls import metrics
from frm_mlflow.analysis.disagreement import shuffled_summary
from frm_mlflow.analysis.failures import control_failures
from frm_mlflow.analysis.frontiers import accuracy_error
from frm_mlflow.analysis.options import AnalysisOptions
from frm_mlflow.analysis.selection import selection_of

OPTIONS = AnalysisOptions(shuffles=200, resamples=100)


def matrix_of(*rows):
    return selection_of(frame(*rows), OPTIONS).comparable


def test_close_models_swap_as_often_as_their_errors_predict():
    """The cheaper of two models is one point better: the other joins the frontier if the draws reverse them."""
    pair = [r | {"top1": {"resnet50": 71.0, "a": 70.0}[r["model"]]} for r in device("phone")[:2]]
    table = accuracy_error(matrix_of(*pair), AnalysisOptions(shuffles=4000), np.random.default_rng(0))
    sd = np.sqrt(71 * 29 / 1000 + 70 * 30 / 1000)
    swapped = norm.cdf(-1 / sd)
    expected = 1 - swapped / 3  # a frontier of two against the true one of one has F1 2/3
    found = table[table["objective"] == "frm"].iloc[0]
    assert found["error"] == "1,000 images, as in the paper"
    assert found["mean"] == pytest.approx(expected, abs=0.01)


def test_intervals_of_the_runs_are_used_if_there_are_any():
    measured = {"accuracy_source": "measured on 500 images of val"}
    rows = [r | measured | {"top1_low": r["top1"] - 4, "top1_high": r["top1"] + 4} for r in device("phone")]
    errors = accuracy_error(matrix_of(*rows), OPTIONS, np.random.default_rng(0))["error"].unique().tolist()
    assert errors == ["1,000 images, as in the paper", "intervals of the runs"]
    assert len(accuracy_error(matrix_of(*device("phone")), OPTIONS, np.random.default_rng(0))["error"].unique()) == 1


def test_failures_have_every_control():
    matrix = matrix_of(*device("phone"), *device("server", tier="cpu"))
    table = control_failures(matrix, metrics(matrix), OPTIONS, np.random.default_rng(0))
    assert {"frm", "flops", "latency", "memory", "frm_shuffled"} <= set(table["predictor"])
    alike = table[table["predictor"].isin(["frm", "flops", "latency"])]
    assert alike["failure_rate"].tolist() == pytest.approx([0.0] * len(alike))  # all cost the same on every device


def test_shuffled_frm_disagrees_with_flops():
    found = shuffled_summary(matrix_of(*device("phone")), OPTIONS, np.random.default_rng(0)).iloc[0]
    assert 0 < found["share"] < 1
    assert found["rho"] < 1
