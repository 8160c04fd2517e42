"""Device tags on users' own fluent runs, through MLflow's `run_context_provider` hook.

MLflow imports this module in every program that uses it, so it imports nothing slow. The device
is probed once per process, when the first run starts.
"""

from __future__ import annotations

import os
from functools import lru_cache

from mlflow.tracking.context.abstract_context import RunContextProvider

from frm_mlflow import redact

logger = redact.logger(__name__)

CONTEXT_VARIABLE = "FRM_MLFLOW_CONTEXT"
OFF = ("0", "false", "no", "off")


class DeviceContext(RunContextProvider):
    """Tags runs with `frm.device`, `frm.chip` and `frm.tier`; `FRM_MLFLOW_CONTEXT=0` turns it off."""

    def in_context(self) -> bool:
        """Whether the tags are enabled."""
        return os.environ.get(CONTEXT_VARIABLE, "1").lower() not in OFF

    def tags(self) -> dict[str, str]:
        """Return the tags of the device that this process runs on; empty if it cannot be probed."""
        return dict(_device_tags())


@lru_cache(maxsize=1)
def _device_tags() -> tuple[tuple[str, str], ...]:
    try:
        from frm_mlflow import schema
        from frm_mlflow.config import DeviceConfig
        from frm_mlflow.devices import known_devices, probe, resolve

        auto = DeviceConfig(name="auto", tier=None, kind="auto")
        device = resolve(auto, hardware=probe(), known=known_devices())
        tags = {schema.DEVICE: device.name, schema.CHIP: device.chip, schema.TIER: device.tier}
        return tuple((tag.key, value) for tag, value in tags.items() if value)
    except Exception as error:  # a user's run must start even if a probe fails
        logger.debug("no device tags: %s", error)
        return ()
