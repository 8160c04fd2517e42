"""Wait for a device on which another process is measuring."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from frm_mlflow.devices.resolve import Device
from frm_mlflow.errors import DeviceBusyError

POLL_S = 0.5

Tell = Callable[[str], None]


class Ends(Protocol):
    """An acquired turn on a device."""

    def end(self) -> None:
        """Release the device to the next process."""


Take = Callable[[str, str], Ends | str]
"""Device and holder → the turn, or its current holder."""


@contextmanager
def turn_of(
    take: Take,
    device: str,
    *,
    holder: str,
    wait_s: float,
    tell: Tell,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[None]:
    """Hold the device exclusively until the block ends.

    Raises
    ------
    DeviceBusyError
        If another process holds it for longer than `wait_s`.
    """
    since, told = clock(), ""
    name = f"{holder}, process {os.getpid()} on {platform.node()}"
    while isinstance(taken := _asked(take, device, name, tell), str):
        if taken != told:
            tell(f"Waiting for {device}: {taken} measures there. device.wait_s={wait_s:g} is how long to wait.")
            told = taken
        if clock() - since >= wait_s:
            raise DeviceBusyError(
                f"{device} was not free within device.wait_s={wait_s:g} s: {taken} measures there, and two at once "
                "would disturb each other. Wait for it, or raise device.wait_s."
            )
        sleep(POLL_S)
    try:
        yield
    finally:
        if taken is not None:
            taken.end()


def _asked(take: Take, device: str, holder: str, tell: Tell) -> Ends | str | None:
    """Return the turn or its current holder; None, with a message, if this machine has no place for a lock."""
    try:
        return take(device, holder)
    except OSError as error:
        tell(f"Other sweeps on {device} are not noticed: no lock can be made ({error}).")
        return None


def local_name(device: Device) -> str:
    """Return the lock name for a physical device of this machine, whatever name a sweep gives it."""
    if device.kind != "cuda":
        return "cpu"
    visible = [name.strip() for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name.strip()]
    return f"gpu-{visible[device.index] if device.index < len(visible) else device.index}"
