"""The fleet as seen by Ray: which living node has which device, which device is busy with what, and which jobs wait.

A device is a custom resource `device_NAME` of the node that owns it; one unit is the whole device. Ray's own
list of waiting tasks needs its dashboard, which is not part of the base package, so a launcher keeps a line
for each job in the cluster's key-value store.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

from frm_mlflow.errors import ConfigError, FleetError, MissingExtraError

PREFIX = "device_"
STALE_S = 120.0
"""A launcher that has not been heard from for this long is considered dead, and its lines are ignored."""
_JOBS, _LAUNCHERS = b"frm_mlflow", b"frm_mlflow.launchers"
_CONNECT_S = 5.0
_AUTH_MODES = ("token", "disabled")
_HOW_TO_START = "See docs/fleet.md for how to start one (`ray start --head`, a token, a resource for each device)"
QUEUED, RUNNING = "queued", "running"


@dataclass(frozen=True)
class Line:
    """A launcher's entry for one of its jobs."""

    key: str
    label: str
    device: str
    state: str
    """queued or running."""
    since_s: float
    """When it entered this state, in seconds since 1970."""
    launcher: str
    """Host and process of the launcher."""
    node: str = ""


@dataclass(frozen=True)
class Node:
    """A host of the cluster."""

    node_id: str
    address: str
    host: str
    alive: bool
    devices: Mapping[str, float]
    """How many of each device it has, by device name."""


@contextmanager
def connected(*, address: str, auth: str) -> Iterator[Any]:
    """Connect to a running Ray cluster and yield the module `ray`; disconnect when the block is left.

    Raises
    ------
    FleetError
        If there is no cluster, or it requires another token.
    """
    if auth not in _AUTH_MODES:
        raise ConfigError(f"hydra.launcher.auth must be one of {', '.join(_AUTH_MODES)}, got '{auth}'")
    # Ray reads these when it is imported.
    os.environ["RAY_AUTH_MODE"] = auth
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        import ray
    except ImportError as error:
        raise MissingExtraError("ray", "fleet", "A fleet") from error
    address = os.environ.get("RAY_ADDRESS", "auto") if address == "auto" else address
    _refuse_silence(address)
    on_sigterm = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(address=address, namespace="frm-mlflow", log_to_driver=False, configure_logging=False)
    except (ConnectionError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise FleetError(f"no Ray cluster responds at '{address}': {first}. {_HOW_TO_START}") from error
    # Ray installs its own SIGTERM handler, which would end the sweep as if it had failed.
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, on_sigterm)
    try:
        yield ray
    finally:
        ray.shutdown()


def _refuse_silence(address: str) -> None:
    """Raise `FleetError` immediately if nothing listens at HOST:PORT: Ray itself would retry for many minutes."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not colon or not port.isdigit():
        return
    try:
        socket.create_connection((host, int(port)), timeout=_CONNECT_S).close()
    except OSError as error:
        raise FleetError(f"no Ray cluster responds at '{address}': {error}. {_HOW_TO_START}") from error


def nodes(ray: Any) -> list[Node]:
    """Return every node known to the cluster, including dead ones."""
    return [_node(entry) for entry in ray.nodes()]


def _node(entry: Mapping[str, Any]) -> Node:
    resources = {str(name): float(amount) for name, amount in entry["Resources"].items()}
    return Node(
        node_id=str(entry["NodeID"]),
        address=str(entry["NodeManagerAddress"]),
        host=str(entry["NodeManagerHostname"]),
        alive=bool(entry["Alive"]),
        devices={name.removeprefix(PREFIX): amount for name, amount in resources.items() if name.startswith(PREFIX)},
    )


def units(nodes: Sequence[Node]) -> dict[str, float]:
    """Return how many of each device the living nodes have."""
    amounts: dict[str, float] = {}
    for node in nodes:
        for device, amount in node.devices.items() if node.alive else ():
            amounts[device] = amounts.get(device, 0.0) + amount
    return amounts


def devices_by_node(nodes: Sequence[Node]) -> str:
    """Return the devices of every living node as text for messages."""
    with_devices = [node for node in nodes if node.alive and node.devices]
    texts = [f"{node.host} ({node.address}) has {', '.join(sorted(node.devices))}" for node in with_devices]
    return "; ".join(texts) or "no living node has any device"


class Board:
    """The launchers' lines in the cluster's key-value store."""

    def __init__(self, *, clock: Callable[[], float] = time.time) -> None:
        from ray.experimental import internal_kv

        self._store = internal_kv
        self._clock = clock

    def beat(self, launcher: str) -> None:
        """Record that a launcher is alive; its lines are shown for the next `STALE_S` seconds."""
        self._store._internal_kv_put(launcher.encode(), str(self._clock()).encode(), namespace=_LAUNCHERS)

    def leave(self, launcher: str) -> None:
        """Remove the record that a launcher is alive."""
        self._store._internal_kv_del(launcher.encode(), namespace=_LAUNCHERS)

    def put(self, line: Line) -> None:
        """Write or overwrite a line."""
        self._store._internal_kv_put(line.key.encode(), json.dumps(asdict(line)).encode(), namespace=_JOBS)

    def drop(self, key: str) -> None:
        """Remove a line, if it exists."""
        self._store._internal_kv_del(key.encode(), namespace=_JOBS)

    def lines(self) -> list[Line]:
        """Return the lines of living launchers, oldest first."""
        lines = [Line(**json.loads(text)) for text in self._values(_JOBS).values()]
        beats = self._values(_LAUNCHERS)
        alive = {launcher for launcher, text in beats.items() if self._clock() - float(text) < STALE_S}
        return sorted((line for line in lines if line.launcher in alive), key=lambda line: (line.since_s, line.key))

    def _values(self, namespace: bytes) -> dict[str, bytes]:
        keys = self._store._internal_kv_list(b"", namespace=namespace)
        values = {key.decode(): self._store._internal_kv_get(key, namespace=namespace) for key in keys}
        return {key: value for key, value in values.items() if value}
