"""Convert a network to a runtime's file: exporters behind one entry point, with a cache in front.

Neither importing this package nor fetching a cached export needs torch.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from frm_mlflow.config import ModelConfig, PrecisionConfig
from frm_mlflow.export import process
from frm_mlflow.export.cache import CacheEntry, ExportCache
from frm_mlflow.export.check import check_model
from frm_mlflow.export.request import ExportRequest
from frm_mlflow.export.support import check, precisions

__all__ = [
    "CacheEntry",
    "ExportCache",
    "check",
    "check_model",
    "export",
    "precisions",
]


def export(
    config: ModelConfig,
    *,
    runtime: str,
    precision: PrecisionConfig | str = "fp32",
    batch_size: int = 1,
    cache: ExportCache,
    compute_unit: str = "cpu",
    timeout_s: float = 1800.0,
) -> Path:
    """Return the directory of the model exported for a runtime, exporting it if it is not cached.

    Raises
    ------
    ConfigError
        For an unknown model or runtime, or a precision that has no kernels on the compute unit.
    ModelError
        If the network cannot be built or its weights do not fit it.
    ExportError
        If the runtime's converter rejects it, with the converter's reason.
    """
    if isinstance(precision, str):
        precision = PrecisionConfig(name=precision)
    check(runtime, precision.name, compute_unit=compute_unit)
    if precision.name == "tf32":  # the same network, which the GPU computes with fewer mantissa bits
        precision = replace(precision, name="fp32")
    request = ExportRequest(model=config, runtime=runtime, precision=precision, batch_size=batch_size)
    return cache.fetch(request.key(), lambda directory: process.run(request, directory, timeout_s=timeout_s))
