from __future__ import annotations

import threading

import numpy as np
import pandas as pd
import pytest

from frm_mlflow.errors import ConfigError
from frm_mlflow.report.snapshot import prepare
from frm_mlflow.server.advice import Adviser, constraints_of, measurements_of, near_device, target_of
from frm_mlflow.server.choice import Choice
from frm_mlflow.server.once import Once
from tests.unit.server.conftest import benchmarks


def fleet() -> pd.DataFrame:
    """Six models on four devices that differ only by a factor."""
    sizes = np.linspace(1, 6, 6)
    frames = []
    for factor, device in ((1.0, "a"), (2.0, "b"), (4.0, "c"), (8.0, "d")):
        models = {f"m{n}": (factor * size, 10 * size, size, 70 + size) for n, size in enumerate(sizes)}
        frames.append(benchmarks(models, device=device, chip=device))
    return pd.concat(frames)


def test_the_most_accurate_model_within_the_limit_is_recommended() -> None:
    snapshot = prepare(fleet(), digest="d")
    key = snapshot.configurations.index[snapshot.configurations["device"] == "c"][0]
    choice = Choice(filters={}, configuration=key, baseline="m0")
    answer = Adviser(patience_s=60).answer(snapshot, choice, {"max_latency_ms": "13"})
    assert answer is not None
    # On device c the models take 4, 8, 12, 16, ... ms: m2 is the last one under 13 ms.
    columns = answer["columns"]
    picked = [model for model, is_pick in zip(columns["model"], columns["picked"], strict=True) if is_pick]
    assert picked == ["m2"]
    assert "m2" in answer["sentences"][0]
    assert answer["target"]["device"] == "c"


def test_a_device_that_is_not_in_the_data_takes_the_filters() -> None:
    snapshot = prepare(fleet(), digest="d")
    target = target_of(snapshot, Choice(filters={"runtime": "litert"}), "my board")
    assert (target.device, target.runtime, target.tier) == ("my board", "litert", "")


def test_measurements_are_read_line_by_line() -> None:
    assert measurements_of(" resnet50 = 12.5\n\na=b=3 ") == {"resnet50": 12.5, "a=b": 3.0}


@pytest.mark.parametrize("text", ["resnet50", "= 3", "resnet50 = fast", "resnet50 = nan", "a=1\n" * 201])
def test_a_wrong_measurement_names_the_remedy(text: str) -> None:
    with pytest.raises(ConfigError, match=r"milliseconds|number|at most 200"):
        measurements_of(text)


def test_limits_are_read_and_checked() -> None:
    limits = constraints_of({"max_latency_ms": " 20 ", "min_top1": "", "confidence": "0.8"})
    assert (limits.max_latency_ms, limits.min_top1, limits.confidence) == (20.0, None, 0.8)
    for query in ({"max_latency_ms": "soon"}, {"max_latency_ms": "-1"}, {"confidence": "2"}):
        with pytest.raises(ConfigError, match=r"number|above 0|confidence"):
            constraints_of(query)


def test_work_is_done_once_and_forgotten_when_it_failed() -> None:
    calls: list[str] = []

    def work() -> str:
        calls.append("now")
        if len(calls) == 1:
            raise ConfigError("not yet")
        return "done"

    once: Once[str] = Once(patience_s=60)
    with pytest.raises(ConfigError):
        once.get("key", work)
    assert [once.get("key", work), once.get("key", work)] == ["done", "done"]
    assert len(calls) == 2


def test_slow_work_is_not_waited_for() -> None:
    go = threading.Event()
    once: Once[bool] = Once(patience_s=0.01)
    assert once.get("key", lambda: go.wait(60)) is None
    go.set()
    while (found := once.get("key", lambda: False)) is None:
        pass
    assert found is True


def test_near_names_are_offered_for_an_unknown_device() -> None:
    snapshot = prepare(benchmarks({"resnet50": (1.0, 1.0, 1.0, 76.0)}), digest="d")
    assert near_device(snapshot, "Phoen").endswith("Did you mean 'Phone'?")
    assert near_device(snapshot, "Phone") == ""
