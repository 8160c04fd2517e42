"""What a kind of fault is, and the moment at which it hits."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass

from tests.faults.process import Command
from tests.faults.world import Case, World

Inject = Callable[[Case, random.Random], str | None]
"""Injects the fault and returns what it did, or None where the sweep was over before it could hit."""


@dataclass(frozen=True)
class Fault:
    """A kind of fault, and what it needs that not every machine has."""

    name: str
    title: str
    inject: Inject
    missing: Callable[[World], str] = lambda world: ""
    """Why it cannot be injected here; "" where it can."""
    every: int = 1
    """It is injected in each round of the campaign that this divides: what takes long is injected less often."""


def moment(case: Case, rng: random.Random, command: Command, *, within_s: float | None = None) -> bool:
    """Wait until a moment of the sweep that is drawn; return whether it still runs.

    It is drawn within the time that an undisturbed sweep takes, from its start on.
    """
    deadline = command.started + rng.uniform(0.0, within_s or case.world.sweep_seconds)
    while command.running and time.monotonic() < deadline:
        time.sleep(0.005)
    return command.running


def needs_mount(world: World) -> str:
    """Say what is missing where small disks cannot be mounted."""
    return "" if world.client_disk.mounted else "mounting a small disk is denied here"
