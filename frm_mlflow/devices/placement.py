"""Check that a worker ran on the requested device; a record's compute unit and provider come from its reply."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from frm_mlflow.config import RuntimeConfig
from frm_mlflow.devices.resolve import CUDA, Device
from frm_mlflow.errors import DeviceMismatchError

DEFAULT_LEAST_SHARE = 0.8
"""Share of the nodes that must run on the device's unit, if `runtime.options.least_share` does not set it."""


@dataclass(frozen=True, slots=True)
class Placed:
    """The unit on which a model ran and its precision, as its worker reported them."""

    unit: str
    provider: str
    precision: str
    nodes: Mapping[str, int] | None = None
    """Nodes by unit; None if the runtime does not report it."""

    @property
    def layers(self) -> str:
        """Return the nodes by unit in the format of the tag: `cpu=1 gpu=65`."""
        return " ".join(f"{unit}={count}" for unit, count in sorted((self.nodes or {}).items()))


def worker_target(device: Device, runtime: RuntimeConfig, *, threads: int, precision: str) -> dict[str, Any]:
    """Return the fields of a `load` or `preflight` request that name runtime, device and precision."""
    return {
        "runtime": runtime.name,
        "threads": threads,
        "options": dict(runtime.options),
        "device": device.kind,
        "index": device.worker_index,
        "selector": device.selector,
        "precision": precision,
    }


def placed(reply: Mapping[str, Any]) -> Placed:
    """Return the placement that a worker's reply to `load` or `preflight` reports."""
    where = reply["placement"]
    return Placed(where["unit"], where["provider"], reply["precision"], where["nodes"])


def check(device: Device, runtime: RuntimeConfig, reply: Mapping[str, Any], *, precision: str) -> Placed:
    """Return the placement of the model that the worker reports.

    Raises
    ------
    DeviceMismatchError
        If it is not the requested device, unit or precision, or if too many nodes run elsewhere.
    """
    placement = placed(reply)
    kind = reply["placement"]["kind"]
    if (kind == CUDA) != (device.kind == CUDA) or placement.unit != device.compute_unit:
        raise DeviceMismatchError(
            f"device={device.name} is {_an(device.compute_unit)} ({device.chip}), and {runtime.name} runs the model on "
            f"{_an(placement.unit)} ({placement.provider}): {_remedy(device, runtime)}."
        )
    card = reply.get("card") or {}
    if device.uuid and card.get("uuid") and _digits(card["uuid"]) != _digits(device.uuid):
        raise DeviceMismatchError(
            f"device={device.name} is the card {device.uuid}, and the worker runs on {card['name']} {card['uuid']}: "
            "unset CUDA_VISIBLE_DEVICES and choose the card with device.index."
        )
    if precision and placement.precision != precision:
        raise DeviceMismatchError(
            f"precision={precision} was requested, but {runtime.name} runs {placement.precision} on {device.name}: "
            f"choose precision={placement.precision}."
        )
    _check_share(device, runtime, placement)
    return placement


def _check_share(device: Device, runtime: RuntimeConfig, placement: Placed) -> None:
    nodes = placement.nodes or {}
    total = sum(nodes.values())
    least = float(runtime.options.get("least_share", DEFAULT_LEAST_SHARE))
    here = nodes.get(placement.unit, 0)
    if total and here < least * total:
        raise DeviceMismatchError(
            f"{placement.provider} runs {here} of the network's {total} nodes on {device.name} and leaves the others "
            f"to the processor: at least {least:.0%} must run on the device (runtime.options.least_share={least:g})."
        )


def _remedy(device: Device, runtime: RuntimeConfig) -> str:
    """Return the user's setting that moves the model away from the device."""
    for key in ("provider", "device"):
        if runtime.options.get(key):
            return (
                f"remove runtime.options.{key}={runtime.options[key]}, or choose the device that it runs on. A "
                "record has the device that was used"
            )
    return f"choose another runtime for device={device.name}, or the device that it runs on"


def _an(unit: str) -> str:
    return {"cpu": "a processor", "gpu": "a GPU", "npu": "an NPU"}.get(unit, "several units")


def _digits(uuid: str) -> str:
    return uuid.removeprefix("GPU-").removeprefix("MIG-").lower()
