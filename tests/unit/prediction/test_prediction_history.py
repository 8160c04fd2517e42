"""Conversion from rows to matrices: each benchmark once, under the device that ran it."""

import numpy as np
import pandas as pd
import pytest

from frm_mlflow.errors import DataError
from frm_mlflow.prediction.history import by_runner, history_of
from tests.unit.prediction.histories import N_MODELS, history_frame


def together(*frames: pd.DataFrame) -> pd.DataFrame:
    return pd.concat(frames, ignore_index=True)


def test_matrices_hold_the_logarithms_of_the_rows() -> None:
    frame = history_frame(devices=3)
    history = history_of(frame)[0]
    assert history.log_latency.shape == (3, N_MODELS)
    row = frame.iloc[5]
    where = list(history.devices).index(row["device"]), history.models.index(row["model"])
    assert np.exp(history.log_latency[where]) == pytest.approx(row["latency_ms"])
    assert history.facts.top1[where[1]] == pytest.approx(row["top1"])


def test_a_republished_row_belongs_to_the_chip_that_ran_it() -> None:
    frame = history_frame(devices=2).assign(generation="v1")
    devices = sorted(frame["device"].unique())
    chip = frame.loc[frame["device"] == devices[0], "chip"].iloc[0]
    copied = frame[frame["device"] == devices[1]].assign(measured_on=devices[0])
    found = by_runner(copied.assign(device="sibling"))
    assert set(found["device"]) == {devices[0]}
    both = by_runner(together(frame[frame["device"] == devices[0]], copied))
    assert set(both["chip"]) == {chip}


def test_accuracy_is_that_of_the_measured_precision() -> None:
    frame = history_frame(devices=2)
    model = frame["model"].iloc[0]
    quantised = frame[frame["device"] == frame["device"].iloc[0]].assign(precision="int8", accuracy_source="measured")
    quantised.loc[quantised["model"] == model, "top1"] = 12.0
    history = history_of(together(frame, quantised))[0]
    where = history.models.index(model)
    assert history.with_accuracy_of("int8").facts.top1[where] == 12.0
    assert history.with_accuracy_of("fp32").facts.top1[where] != 12.0


def test_other_batch_sizes_are_left_out_and_reported() -> None:
    frame = history_frame(devices=3)
    other = frame[frame["device"] == frame["device"].iloc[0]].assign(batch_size=8)
    history, dropped = history_of(together(frame, other))
    assert history.n_configurations == 3
    assert any("batch_size" in text for text in dropped)


def test_no_rows_is_an_error_with_a_reason() -> None:
    with pytest.raises(DataError, match="no benchmark to predict from"):
        history_of(history_frame(devices=1).assign(status="FAILED"))[0]


def test_unknown_models_are_named() -> None:
    with pytest.raises(DataError, match="no_such_model"):
        history_of(history_frame(devices=1))[0].positions(["no_such_model"])
