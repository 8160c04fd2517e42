"""attach, gate and log_frm refuse a runtime that cannot run on the device before they download or export anything."""

from __future__ import annotations

from types import SimpleNamespace

import mlflow
import pytest
import torch
from hydra import compose, initialize_config_module

import frm_mlflow
from frm_mlflow.config import GateConfig, checked
from frm_mlflow.errors import ConfigError
from frm_mlflow.gate import evidence
from frm_mlflow.integrations import log_frm
from frm_mlflow.runners import attach

WITHOUT_CUDA = ["device=cpu", "runtime=onnxruntime", "runtime.options.provider=cuda"]
REASON = "without CUDAExecutionProvider"


def unreachable(*_, **__):
    pytest.fail("the model was downloaded or exported before the device was checked")


def settings(command: str, *words: str):
    with initialize_config_module("frm_mlflow.conf", version_base="1.3"):
        return compose(command, [*WITHOUT_CUDA, *words])


def test_log_frm_refuses_before_the_model_is_traced(tracking, net, monkeypatch):
    monkeypatch.setattr(log_frm, "live_model", unreachable)
    with mlflow.start_run(), pytest.raises(ConfigError, match=REASON):
        frm_mlflow.log_frm(net, torch.zeros(1, 1, 8, 8), device="cpu", overrides=WITHOUT_CUDA[2:])


def test_attach_refuses_before_the_download(tracking, monkeypatch):
    stored = SimpleNamespace(run_id="1", name="net", uri="models:/net/1", model_id=None, download=unreachable)
    monkeypatch.setattr(attach.models, "find_model", lambda *_: stored)
    with pytest.raises(ConfigError, match=REASON):
        attach.attach(settings("attach", "model_uri=models:/net/1"))


def test_gate_refuses_before_the_download(monkeypatch):
    monkeypatch.setattr(evidence, "_subject", unreachable)
    config = settings("gate", "candidate=models:/net/1", "max_latency_ms=5", "numbers=measured")
    with pytest.raises(ConfigError, match=REASON):
        evidence.gathered(checked(GateConfig, config, where="gate"), client=None)
