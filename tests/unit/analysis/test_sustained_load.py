"""Sustained load as an axis of `sensitivity`: against SciPy, and against known true values."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

from frm_mlflow.analysis.options import AnalysisOptions
from frm_mlflow.analysis.registry import run_all
from frm_mlflow.analysis.synthetic import SyntheticRecipe, synthetic_frame
from frm_mlflow.schema import RATIO_INTERLEAVED

OPTIONS = AnalysisOptions(resamples=300, shuffles=10)


def sustained_frame(drop, **changes) -> pd.DataFrame:
    frame = synthetic_frame(SyntheticRecipe(devices={"edge": 3}, noise=0.2), np.random.default_rng(3))
    return frame.assign(sustained_drop=drop, **changes)


def sensitivity(frame: pd.DataFrame):
    return run_all(frame, ["sensitivity"], options=OPTIONS, rng=np.random.default_rng(0)).results["sensitivity"]


def load_axis(frame: pd.DataFrame) -> pd.DataFrame:
    axes = sensitivity(frame).tables["axes"]
    return axes[axes["axis"] == "sustained load"].set_index("metric")


def test_a_shared_slowdown_changes_neither_ranks_nor_frm():
    axis = load_axis(sustained_frame(0.25))
    measured = axis.loc[["frm", "latency", "memory"]]
    assert measured["rho"].to_numpy() == pytest.approx(1)
    assert measured["factor"].to_dict() == pytest.approx({"frm": 1.0, "latency": 1.25, "memory": 1.0})
    assert set(axis["pairs"]) == {3}


def test_ranks_after_uneven_slowdowns_are_scipys():
    drop = np.random.default_rng(4).uniform(0, 3, 39)
    frame = sustained_frame(drop)
    expected = []
    for _, rows in frame.groupby("device"):
        loaded = rows["latency_ms"] * (1 + rows["sustained_drop"])
        expected.append(spearmanr(rows["latency_ms"], loaded).statistic)
    assert load_axis(frame).loc["latency", "rho"] == pytest.approx(np.mean(expected))


def test_the_model_that_throttles_moves_most():
    frame = sustained_frame(0.0)
    frame.loc[frame["model"] == "mobilenet_v2", "sustained_drop"] = 20.0
    moves = sensitivity(frame).tables["moves"]
    first = moves[moves["axis"] == "sustained load"].iloc[0]
    assert (first["model"], first["level"], first["other"]) == ("mobilenet_v2", "short", "sustained")
    assert first["relative_latency"] == pytest.approx(21)


def test_a_ratio_taken_in_one_window_is_carried_along():
    frame = sustained_frame(0.1, ratio_source=RATIO_INTERLEAVED, ratio_flops=1.0, ratio_memory=1.0)
    base = frame[frame["model"] == "resnet50"].set_index("device")["latency_ms"]
    frame["ratio_latency"] = frame["latency_ms"] / frame["device"].map(base)
    frame.loc[frame["model"] == "resnet50", "sustained_drop"] = 0.2
    assert load_axis(frame).loc["frm", "factor"] == pytest.approx((1.1 / 1.2) ** (12 / 13 / 3))


def test_models_without_a_sustained_run_are_not_compared():
    frame = sustained_frame(0.5)
    frame.loc[frame["device"] != "edge-000", "sustained_drop"] = np.nan
    assert set(load_axis(frame)["pairs"]) == {1}


def test_a_drop_does_not_make_pairs_on_other_axes():
    frame = sustained_frame(0.5)
    assert set(sensitivity(frame).tables["axes"]["axis"]) == {"sustained load"}


def test_without_sustained_runs_the_remedy_is_named():
    both = pd.concat([sustained_frame(np.nan), sustained_frame(np.nan, precision="int8")], ignore_index=True)
    assert any("measure=sustained" in sentence for sentence in sensitivity(both).sentences)
