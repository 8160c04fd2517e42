"""Linking a logged benchmark to its external model must not turn it into a failure."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from frm_mlflow.config import ModelConfig
from frm_mlflow.errors import TrackingError
from frm_mlflow.sweep import external


@pytest.mark.parametrize("error", [TrackingError("refused"), KeyError("model_id"), RuntimeError("a bug")])
def test_whatever_the_link_raises_is_a_warning(
    error: Exception, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    def refuse(*args, **kwargs):
        raise error

    monkeypatch.setattr(external.models, "catalogue_model", refuse)
    sweep = SimpleNamespace(client=None, experiment_id="1")
    outcome = SimpleNamespace(kept=None, run_id="run")
    external.link_to_catalogue(sweep, outcome, ModelConfig("resnet18"), record=None)  # type: ignore[arg-type]
    assert "logged, but not linked" in caplog.text
    assert str(error) in caplog.text
