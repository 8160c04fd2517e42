"""Log models in tests without MLflow's inference of requirements, which takes half a minute in another process."""

from __future__ import annotations

from typing import Any

import mlflow.onnx
import mlflow.pytorch
import numpy as np
from mlflow.models.model import ModelInfo

EXAMPLE = np.zeros((2, 1, 8, 8), np.float32)


def log_torch(model: Any, name: str, **options: Any) -> ModelInfo:
    """Log a torch model that works on images like `EXAMPLE`."""
    options.setdefault("input_example", EXAMPLE)
    options.setdefault("serialization_format", "pt2")  # the oldest MLflow logs pickles by default
    return mlflow.pytorch.log_model(model, name=name, pip_requirements=["torch"], **options)


def log_onnx(model: Any, name: str, **options: Any) -> ModelInfo:
    """Log an ONNX model."""
    return mlflow.onnx.log_model(model, name=name, pip_requirements=["onnxruntime"], **options)
