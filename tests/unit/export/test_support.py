"""What is rejected before anything is exported."""

from __future__ import annotations

import pytest

from frm_mlflow.errors import ConfigError, MissingExtraError
from frm_mlflow.export import check, support


def test_an_unknown_runtime_lists_the_valid_ones():
    with pytest.raises(ConfigError, match="valid: torch, torch_compile"):
        check("tensorflow", "fp32")


def test_a_precision_without_kernels_lists_the_supported_ones():
    with pytest.raises(ConfigError, match=r"no int8 kernels.*supported: fp32, fp16, bf16"):
        check("torch", "int8")
    with pytest.raises(ConfigError, match=r"no fp16 kernels on compute unit 'cpu'; supported: fp32, int8"):
        check("onnxruntime", "fp16")


def test_a_runtime_without_gpu_support_names_where_it_runs():
    with pytest.raises(ConfigError, match="does not run on compute unit 'gpu', only on cpu"):
        check("litert", "fp32", compute_unit="gpu")


def test_a_missing_package_names_the_extra(monkeypatch):
    monkeypatch.setattr(support.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(MissingExtraError, match=r"pip install 'frm-mlflow\[openvino\]'"):
        check("openvino", "fp32")
