"""`frm-mlflow fleet`: the devices of a Ray cluster, what each is doing, and which jobs are waiting for it."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace

from rich.console import Console
from rich.table import Table

from frm_mlflow.launcher import ray_cluster
from frm_mlflow.launcher.ray_cluster import PREFIX, QUEUED, RUNNING, Board, Line, Node

FREE, BUSY, DEAD = "free", "busy", "dead"
OTHERS = "a task of another program"


@dataclass(frozen=True)
class DeviceState:
    """A device on a node, and what it is doing."""

    device: str
    state: str
    """free, busy, or dead: its node has left the cluster."""
    host: str
    address: str
    node: str
    job: str = ""
    launcher: str = ""
    since_s: float | None = None
    """Start of its job, in seconds since 1970."""


@dataclass(frozen=True)
class FleetState:
    """All devices known to the cluster, and the waiting jobs, oldest first."""

    devices: tuple[DeviceState, ...]
    queue: tuple[Line, ...]


def state_of(nodes: Sequence[Node], lines: Sequence[Line], available: Mapping[str, float]) -> FleetState:
    """Return the state of the fleet.

    Parameters
    ----------
    nodes, lines
        From `ray_cluster.nodes` and `Board.lines`.
    available
        The free amount of every resource, as reported by Ray.
    """
    running = [line for line in lines if line.state == RUNNING]
    taken = {
        device: amount - available.get(PREFIX + device, 0.0) for device, amount in ray_cluster.units(nodes).items()
    }
    devices = []
    for node in sorted(nodes, key=lambda n: (not n.alive, n.host, n.node_id)):
        for device in sorted(node.devices):
            mine = [line for line in running if line.node == node.node_id and line.device == device]
            devices.append(_device(node, device, mine, in_use=taken.get(device, 0.0)))
            taken[device] = taken.get(device, 0.0) - (devices[-1].state == BUSY)
    return FleetState(tuple(devices), tuple(line for line in lines if line.state == QUEUED))


def _device(node: Node, device: str, running: Sequence[Line], *, in_use: float) -> DeviceState:
    idle = DeviceState(device, FREE if node.alive else DEAD, node.host, node.address, node.node_id)
    if node.alive and running:
        labels, since_s = ", ".join(line.label for line in running), min(line.since_s for line in running)
        return replace(idle, state=BUSY, job=labels, launcher=running[0].launcher, since_s=since_s)
    return replace(idle, state=BUSY, job=OTHERS) if node.alive and in_use > 0 else idle


def read(*, address: str, auth: str) -> FleetState:
    """Ask the cluster for its state; raise `FleetError` if no cluster responds."""
    with ray_cluster.connected(address=address, auth=auth) as ray:
        return state_of(ray_cluster.nodes(ray), Board().lines(), ray.available_resources())


def show(*, address: str = "auto", auth: str | None = None, as_json: bool, out: Console) -> int:
    """Print the state of the fleet, as JSON on standard output if requested."""
    fleet = read(address=address, auth=auth or os.environ.get("RAY_AUTH_MODE", "token"))
    if as_json:
        answer = {"devices": [asdict(d) for d in fleet.devices], "queue": [asdict(line) for line in fleet.queue]}
        sys.stdout.write(json.dumps(answer, indent=2) + "\n")
        return 0
    out.print(_devices_table(fleet.devices, now_s=time.time()))
    for line in fleet.queue:
        out.print(f"waits for {line.device}: {line.label} ({line.launcher})", markup=False, highlight=False)
    if not fleet.devices:
        how = f"`ray start --resources='{{\"{PREFIX}NAME\": 1}}'`"
        out.print(f"No node has a device: start one with {how}.", markup=False, highlight=False)
    return 0


def _devices_table(devices: Sequence[DeviceState], *, now_s: float) -> Table:
    table = Table("device", "state", "host", "job", "for")
    for d in devices:
        since = "" if d.since_s is None else f"{max(0.0, now_s - d.since_s):.0f} s"
        table.add_row(d.device, d.state, f"{d.host} ({d.address})", d.job, since)
    return table
