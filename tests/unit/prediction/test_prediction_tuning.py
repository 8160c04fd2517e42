"""The prior's settings are selected on left-out chips: correct for known true values, without using the target."""

import numpy as np
import pandas as pd

from frm_mlflow.analysis.matrix import ResultMatrix
from frm_mlflow.prediction.history import history_of
from frm_mlflow.prediction.learning import KINS, SHRINKS, chosen_settings, fold_of
from frm_mlflow.prediction.prior import Shrinkage
from tests.unit.prediction.histories import history_frame


def two_runtimes(*, alike: bool) -> ResultMatrix:
    """Return a history with two runtimes; the second ranks models like the first, or like another history."""
    first = history_frame(devices=9, chip_spread=0.05)
    second = history_frame(devices=9, chip_spread=0.05).assign(runtime="openvino")
    if not alike:
        latency = second["latency_ms"].to_numpy().copy()
        order = dict(zip(sorted(set(second["model"])), np.linspace(0.2, 5, 26), strict=True))
        second = second.assign(latency_ms=latency * second["model"].map(order))
    return history_of(pd.concat([first, second], ignore_index=True))[0]


def settings_of(history: ResultMatrix) -> Shrinkage:
    return chosen_settings(fold_of(history, history.groups[0], "latency"), noise_sd=0.02)


def test_another_runtime_that_ranks_otherwise_weighs_little() -> None:
    assert settings_of(two_runtimes(alike=False)).kin == min(KINS)


def test_independent_departures_shrink_the_sample_covariance() -> None:
    lone = settings_of(history_of(history_frame(devices=4, chip_spread=0.3))[0])
    assert lone.shrink in SHRINKS
    assert lone.shrink >= settings_of(history_of(common_departures())[0]).shrink


def common_departures() -> pd.DataFrame:
    """Chips that differ only in how much slower every second model is."""
    frame = history_frame(devices=16, chip_spread=0.0, noise=0.01)
    names, devices = sorted(set(frame["model"])), sorted(set(frame["device"]))
    strength = frame["device"].map({name: place / 5 for place, name in enumerate(devices)})
    odd = frame["model"].map({name: place % 2 for place, name in enumerate(names)})
    return frame.assign(latency_ms=frame["latency_ms"] * np.exp(strength * odd))


def test_too_few_chips_leave_the_defaults() -> None:
    assert settings_of(history_of(history_frame(devices=2))[0]) == Shrinkage()


def test_the_choice_does_not_depend_on_the_order_of_devices() -> None:
    history = two_runtimes(alike=True)
    backwards = history.select(np.arange(history.n_configurations)[::-1])
    assert chosen_settings(fold_of(backwards, history.groups[0], "latency"), noise_sd=0.02) == settings_of(history)
