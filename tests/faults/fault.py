"""Kinds of faults, and the moment at which a fault hits."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass

from tests.faults.process import Command
from tests.faults.world import Case, World

Inject = Callable[[Case, random.Random], str | None]
"""Injects the fault and returns what it did, or None if the sweep ended before it could hit."""


@dataclass(frozen=True)
class Fault:
    """A kind of fault, and its requirements that not every machine meets."""

    name: str
    title: str
    inject: Inject
    missing: Callable[[World], str] = lambda world: ""
    """Why it cannot be injected here; "" if it can."""
    every: int = 1
    """It is injected in every `every`-th round of the campaign, so that slow faults are injected less often."""


def moment(case: Case, rng: random.Random, command: Command, *, within_s: float | None = None) -> bool:
    """Wait until a random moment of the sweep; return whether it is still running.

    The moment is drawn within the duration of an undisturbed sweep, counted from its start.
    """
    deadline = command.started + rng.uniform(0.0, within_s or case.world.sweep_seconds)
    while command.running and time.monotonic() < deadline:
        time.sleep(0.005)
    return command.running


def needs_mount(world: World) -> str:
    """Return what is missing if small disks cannot be mounted."""
    return "" if world.client_disk.mounted else "mounting a small disk is denied here"
