"""Wait for a device on which another process is measuring."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Protocol

from frm_mlflow.config import DeviceConfig
from frm_mlflow.devices.hardware import probe
from frm_mlflow.devices.resolve import CUDA, Device, known_devices, resolve
from frm_mlflow.errors import DeviceBusyError, DeviceMismatchError
from frm_mlflow.worker.turns import take

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
    since, announced = clock(), ""
    name = f"{holder}, process {os.getpid()} on {platform.node()}"
    while isinstance(turn := _asked(take, device, name, tell), str):
        if turn != announced:
            tell(f"Waiting for {device}: {turn} measures there. device.wait_s={wait_s:g} is how long to wait.")
            announced = turn
        if clock() - since >= wait_s:
            raise DeviceBusyError(
                f"{device} was not free within device.wait_s={wait_s:g} s: {turn} measures there, and two at once "
                "would disturb each other. Wait for it, or raise device.wait_s."
            )
        sleep(POLL_S)
    try:
        yield
    finally:
        if turn is not None:
            turn.end()


def _asked(take: Take, device: str, holder_name: str, tell: Tell) -> Ends | str | None:
    """Return the turn or its current holder; None, with a message, if this machine has no place for a lock."""
    try:
        return take(device, holder_name)
    except OSError as error:
        tell(f"Other sweeps on {device} are not noticed: no lock can be made ({error}).")
        return None


def local_name(device: Device) -> str:
    """Return the lock name for a physical device of this machine, whatever name a sweep gives it."""
    return "cpu" if device.kind != CUDA else f"gpu-{device.selector or device.index}"


def claim_card(config: DeviceConfig) -> tuple[Device, Ends] | None:
    """Claim the first card that `config` describes and that no other job of a fleet has claimed.

    A host with eight cards runs eight jobs of a fleet at once. Each claims a card before its first benchmark, until its
    process ends.

    Returns
    -------
    tuple of Device and Ends, or None
        The card and the claim. None if the device is not a GPU of this machine, `device.index` is set, or all its cards
        are claimed. The job then uses `device.index` and waits for its turn.
    """
    if config.kind != CUDA or config.transport != "local" or config.index:
        return None
    hardware = probe()
    for index in range(len(hardware.gpus)):
        try:
            device = resolve(replace(config, index=index), hardware=hardware, known=known_devices())
            claim = take(f"{local_name(device)}-job", f"process {os.getpid()}")
        except DeviceMismatchError:
            continue
        except OSError:  # no lock can be made here: `turn_of` prints it
            return None
        if not isinstance(claim, str):
            return device, claim
    return None
