from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from simulation import Machine, SimulatedWorker, exported_model

from frm_mlflow.measure.participant import Participant
from frm_mlflow.measure.sustained import drop_of, sustain


def test_a_device_that_throttles_shows_its_drop(tmp_path: Path):
    machine = Machine(slowness=lambda seconds: 1.0 if seconds < 60 else 1.3)
    worker = SimulatedWorker(machine, "model", 10.0)
    model = Participant("model", exported_model(tmp_path / "a", "m"), 10.0)
    model.launch(worker)
    model.now.warmed = {"median_ns": 10e6}
    found = sustain(model, seconds=120, clock=machine.clock, conditions=lambda: {"load_1_min": 1.0})
    assert found.drop == pytest.approx(0.3, abs=0.01)
    assert 120 <= found.seconds < 122
    series = found.series
    assert list(series.columns) == ["seconds", "runs", "median_ms", "load_1_min"]
    assert series["seconds"].is_monotonic_increasing
    assert len(series) == pytest.approx(110, abs=5)
    assert model.now.blocks == []


def test_the_drop_is_of_tenths():
    assert drop_of(np.array([10.0] * 9 + [20.0])) == 1.0
    assert drop_of(np.array([10.0])) == 0.0
    assert drop_of(np.r_[np.full(50, 2.0), np.full(50, 1.0)]) == -0.5
