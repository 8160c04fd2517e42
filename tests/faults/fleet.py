"""Faults of a fleet: a real Ray cluster on loopback, whose node has a separate spool and temporary folder."""

from __future__ import annotations

import os
import random
import signal
import time
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

import psutil

from benchmarks.ray_nodes import Fleet, running_fleet
from tests.faults.fault import Fault
from tests.faults.process import FLEET_VARIABLE, JOURNAL_VARIABLE, Command, jobs_of_the_fleet
from tests.faults.world import ROOT, Case, World

NODE = "gateway"
JOB_S = 8.0
"""Moments are drawn within this time after a job's process starts; it covers the imports and the measurement."""
SETTINGS = ("hydra/launcher=frm_ray", "hydra.launcher.look_every_s=0.5", "hydra.launcher.grace_s=20")
TAPPED = Path(__file__).parent / "tapped"


def _fleet(world: World) -> Fleet:
    """Return the campaign's cluster, and start it when it is first needed."""
    if world.fleet is None:
        for folder in (world.node_spool, world.node_tmp):
            folder.mkdir(parents=True)
        world.fleet = world.stack.enter_context(running_fleet())
    if NODE not in world.fleet.nodes:
        world.fleet.node(NODE, {"cpu": 1}, environ=_node_environ(world))
    return world.fleet


def _node_environ(world: World) -> dict[str, str]:
    return {
        "MLFLOW_HTTP_REQUEST_TIMEOUT": "3",
        "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
        "FRM_MLFLOW_SPOOL": str(world.node_spool),
        "XDG_CACHE_HOME": str(world.folder / "user-cache"),
        "FRM_CACHE_DIR": str(world.cache),
        "TMPDIR": str(world.node_tmp),
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": f"{TAPPED}{os.pathsep}{ROOT}",
        JOURNAL_VARIABLE: str(world.node_journal),
        FLEET_VARIABLE: str(world.folder),
    }


def _on_the_fleet(case: Case) -> Fleet:
    """Make the case's sweep run on the cluster, and its jobs record their measurements in its journal."""
    fleet = _fleet(case.world)
    case.world.node_journal.unlink(missing_ok=True)
    case.world.node_journal.symlink_to(case.journal)
    case.arguments.insert(1, "-m")
    case.arguments += SETTINGS
    case.environ |= fleet.environ
    case.on_fleet = True
    return fleet


def _moment(case: Case, rng: random.Random, sweep: Command) -> bool:
    """Wait for the sweep's job, then until a random moment; return whether the sweep is still running."""
    while sweep.running and not jobs_of_the_fleet(case.world.folder):
        time.sleep(0.1)
    deadline = time.monotonic() + rng.uniform(0.0, JOB_S)
    while sweep.running and time.monotonic() < deadline:
        time.sleep(0.01)
    return sweep.running


def node_killed(case: Case, rng: random.Random) -> str | None:
    """A node dies with all its processes; it comes back when the sweep has ended."""
    fleet = _on_the_fleet(case)
    sweep = case.sweep()
    hit = _moment(case, rng, sweep)
    if hit:
        fleet.kill(NODE)
        case.killed = True
    case.ended(sweep)
    _fleet(case.world)
    return "every process of the node" if hit else None


def job_killed(case: Case, rng: random.Random) -> str | None:
    """The system kills a job's process, as it does when memory runs out."""
    _on_the_fleet(case)
    sweep = case.sweep()
    hit = None
    if _moment(case, rng, sweep):
        for process in jobs_of_the_fleet(case.world.folder):
            with suppress(psutil.NoSuchProcess):
                if "frm_mlflow.launcher.job_process" in process.cmdline():
                    process.kill()
                    case.killed, hit = True, "SIGKILL to a job"
    case.ended(sweep)
    return hit


def launcher_killed(case: Case, rng: random.Random) -> str | None:
    """The process that launched the sweep is killed; in one of four cases, so is the one that resumes it."""
    _on_the_fleet(case)
    sweep = case.sweep()
    hit = "SIGKILL to the launcher" if _moment(case, rng, sweep) and sweep.send(signal.SIGKILL) else None
    case.ended(sweep)
    if hit and rng.random() < 0.25:
        again = case.sweep("resume=true")
        if _moment(case, rng, again) and again.send(signal.SIGKILL):
            hit += ", and to its resumption"
        case.ended(again)
    return hit


def launcher_interrupted(case: Case, rng: random.Random) -> str | None:
    """The process that launched the sweep gets Ctrl-C, or SIGTERM from a scheduler."""
    number = rng.choice((signal.SIGINT, signal.SIGTERM))
    _on_the_fleet(case)
    sweep = case.sweep()
    hit = f"{number.name} to the launcher" if _moment(case, rng, sweep) and sweep.send(number) else None
    case.ended(sweep)
    return hit


def _needs_ray(world: World) -> str:
    return "" if find_spec("ray") else "ray is not installed"


EVERY = 2
"""Each costs half a minute, so they are injected in every other round."""

FAULTS: tuple[Fault, ...] = (
    Fault("ray-node-killed", "Ray: a node dies", node_killed, _needs_ray, every=EVERY),
    Fault("ray-job-killed", "Ray: a job SIGKILL", job_killed, _needs_ray, every=EVERY),
    Fault("ray-launcher-killed", "Ray: launcher SIGKILL", launcher_killed, _needs_ray, every=EVERY),
    Fault("ray-launcher-interrupted", "Ray: launcher SIGINT or SIGTERM", launcher_interrupted, _needs_ray, every=EVERY),
)
