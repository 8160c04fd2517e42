"""Dataclasses that mirror `conf/`: a Hydra config is validated here once, on entry.

All other functions take these frozen objects or plain arguments, never a DictConfig.
"""

from frm_mlflow.config.checking import checked
from frm_mlflow.config.commands import (
    AttachConfig,
    BenchConfig,
    GateConfig,
    IngestConfig,
    MeasuringConfig,
    ReadLimits,
    SourceConfig,
    TrackingConfig,
)
from frm_mlflow.config.device import FIXED_SSH_OPTIONS, PHONE, TOOLS, TRANSPORTS, DeviceConfig, Recognition
from frm_mlflow.config.measuring import AccuracyConfig, MeasureConfig, PrecisionConfig, RuntimeConfig
from frm_mlflow.config.model import FILE_SOURCES, MODEL_SOURCES, ModelConfig

__all__ = [
    "FILE_SOURCES",
    "FIXED_SSH_OPTIONS",
    "MODEL_SOURCES",
    "PHONE",
    "TOOLS",
    "TRANSPORTS",
    "AccuracyConfig",
    "AttachConfig",
    "BenchConfig",
    "DeviceConfig",
    "GateConfig",
    "IngestConfig",
    "MeasureConfig",
    "MeasuringConfig",
    "ModelConfig",
    "PrecisionConfig",
    "ReadLimits",
    "Recognition",
    "RuntimeConfig",
    "SourceConfig",
    "TrackingConfig",
    "checked",
]
