"""The adb transport: a phone runs a benchmark program once per request, and reports its hardware."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from frm_mlflow.config import DeviceConfig
from frm_mlflow.devices import android
from frm_mlflow.devices.adb_connection import AdbConnection
from frm_mlflow.devices.environment import git_state
from frm_mlflow.devices.hardware import Hardware
from frm_mlflow.devices.resolve import Device
from frm_mlflow.devices.ssh_connection import tried
from frm_mlflow.devices.turn import Tell, turn_of
from frm_mlflow.errors import ConfigError, DeviceSetupError, TransportError, TransportLostError
from frm_mlflow.worker import machine
from frm_mlflow.worker.store import sha256_of
from frm_mlflow.worker.turns import take

DEFAULT_FOLDER = "/data/local/tmp/frm"
TIMED_OUT = 124
_SLACK_S = 30.0


class Phone:
    """A phone with a benchmark program on it; `hardware` is what Android reports."""

    def __init__(self, config: DeviceConfig) -> None:
        if not config.binary:
            raise ConfigError(f"device.transport=adb needs device.binary=PATH of a {config.tool} built for the phone.")
        self.tool = config.tool
        self._binary = Path(config.binary).expanduser()
        if not self._binary.is_file():
            raise ConfigError(f"device.binary={config.binary} is not a file.")
        self._config = config
        self._folder = config.folder or DEFAULT_FOLDER
        self.connection = AdbConnection(config.serial)
        self.properties = android.properties(tried(lambda: self.connection.shell(["getprop"])))
        self.hardware: Hardware = android.hardware_of_phone(
            self.properties,
            meminfo=tried(lambda: self.connection.answer("cat /proc/meminfo")),
            cpus=tried(lambda: self.connection.answer("cat /sys/devices/system/cpu/present")),
        )
        self.tool_sha256 = sha256_of(self._binary)

    def turn(self, device: Device, *, holder: str, wait_s: float, tell: Tell) -> AbstractContextManager[None]:  # noqa: ARG002
        """Hold the phone exclusively, among the processes of the machine that it is plugged into."""
        serial = self.properties.get("ro.serialno") or self._config.serial or "phone"
        return turn_of(take, f"phone-{serial}", holder=holder, wait_s=wait_s, tell=tell)

    def install(self) -> str:
        """Return the path of the benchmark program on the phone; push it unless it is already there."""
        place = self._put(self._binary, f"{self.tool}-{self.tool_sha256[:16]}", self.tool_sha256)
        self.connection.shell(["chmod", "755", place])
        return place

    def put(self, model: Path) -> str:
        """Return the path of this file on the phone, named by the hash of its content; it is pushed only once."""
        sha256 = sha256_of(model)
        return self._put(model, f"model-{sha256[:16]}{model.suffix}", sha256)

    def shot(self, words: Sequence[str], *, limit_s: float) -> str:
        """Run the program once in the phone's folder and return what it prints.

        The phone itself ends it after `limit_s`, so that nothing keeps running if the cable is pulled. It is
        never retried: after a lost connection, we cannot tell whether the program ran to its end.
        """
        command = ["timeout", f"{limit_s:.0f}", *words]
        try:
            return self.connection.shell(command, timeout_s=limit_s + _SLACK_S)
        except DeviceSetupError as error:
            text = str(error)
            if f"exit code {TIMED_OUT}." in text:
                raise TransportLostError(f"{self.tool} did not finish within {limit_s:g} s and was killed.") from error
            if "exit code 126." in text or "Permission denied" in text:
                raise DeviceSetupError(
                    f"Phone {self.connection.serial} does not run {self.tool}: its folder does not allow programs, or "
                    f"it was built for a processor other than {self.hardware.arch}. Choose a device.folder below "
                    f"/data/local/tmp.\n{text}"
                ) from error
            raise

    def state(self) -> dict[str, Any]:
        """Return the current state of battery, heat, governors, screen and airplane mode."""
        return tried(lambda: android.state(self.connection))

    def conditions(self, device: Device) -> dict[str, float]:  # noqa: ARG002
        """Return the numbers of `state`."""
        return dict(self.state()["conditions"])

    def environment(self, device: Device) -> dict[str, Any]:
        """Return everything about the phone that belongs in the run's artifact, and this machine's Git commit."""
        names = (
            "ro.build.fingerprint",
            "ro.build.version.release",
            "ro.build.version.security_patch",
            "ro.product.model",
        )
        return {
            "device": asdict(device),
            "hardware": asdict(self.hardware),
            "android": {name: self.properties[name] for name in names if name in self.properties},
            "transport": {"kind": "adb", "tool": self.tool, "tool_sha256": self.tool_sha256},
            "controller": machine.software() | {"git": git_state(Path.cwd())},
            "state": self.state(),
        }

    def prune(self, *, older_than_s: float) -> tuple[list[str], int]:
        """Remove models and programs that were not used for `older_than_s`; return their names and total bytes."""
        minutes = f"+{older_than_s / 60:.0f}"
        folder = shlex.quote(self._folder)
        script = f"find {folder} -type f -mmin {minutes} -exec stat -c '%s %n' {{}} ';' -exec rm -f {{}} ';'"
        lines = [line.split(" ", 1) for line in self.connection.answer(script).splitlines() if line.strip()]
        return [name.rsplit("/", 1)[-1] for _, name in lines], sum(int(size) for size, _ in lines)

    def close(self) -> None:
        """Remove the remains of an interrupted copy."""
        with suppress(TransportError):  # a disconnected phone keeps them until the next connection
            self.connection.answer(f"rm -f {shlex.quote(self._folder)}/.incoming-*")

    def _put(self, source: Path, name: str, sha256: str) -> str:
        place = f"{self._folder}/{name}"
        return tried(lambda: self._pushed(source, place, sha256))

    def _pushed(self, source: Path, place: str, sha256: str) -> str:
        """Push under a temporary name, verify and rename; no partial copy is left under either name."""
        if self._hash_there(place) == sha256:
            self.connection.shell(["touch", place])
            return place
        incoming = f"{self._folder}/.incoming-{sha256[:16]}"
        self.connection.shell(["mkdir", "-p", self._folder])
        try:
            self.connection.push(source, incoming, timeout_s=self._config.copy_timeout_s)
            self._verify(incoming, sha256)
            self.connection.shell(["mv", incoming, place])
        except BaseException:
            with suppress(TransportError):  # if the phone is gone, `close` of the next connection removes it
                self.connection.answer(f"rm -f {shlex.quote(incoming)}")
            raise
        return place

    def _verify(self, place: str, sha256: str) -> None:
        if self._hash_there(place) != sha256:
            raise TransportLostError("the file on the phone differs from the one sent")

    def _hash_there(self, place: str) -> str:
        return self.connection.answer(f"sha256sum {shlex.quote(place)}").split(" ")[0].strip()
