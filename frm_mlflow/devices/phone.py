"""The adb transport: a phone runs one shot of a benchmark program at a time, and says what it is."""

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
from frm_mlflow.devices.client import Worker
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
    """A phone with a benchmark program on it; `hardware` is what Android says that it is."""

    def __init__(self, config: DeviceConfig) -> None:
        if not config.binary:
            raise ConfigError(f"device.transport=adb needs device.binary=PATH of a {config.tool} built for the phone.")
        self.tool = config.tool
        self._binary = Path(config.binary).expanduser()
        if not self._binary.is_file():
            raise ConfigError(f"device.binary={config.binary} is no file.")
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
        """Have the phone to itself, among the processes of the machine that it is plugged into."""
        serial = self.properties.get("ro.serialno") or self._config.serial or "phone"
        return turn_of(take, f"phone-{serial}", holder=holder, wait_s=wait_s, tell=tell)

    def open_worker(
        self,
        name: str,
        *,
        threads: int,  # noqa: ARG002
        affinity: Sequence[int] | None = None,  # noqa: ARG002
        memory_limit_mib: float | None = None,  # noqa: ARG002
    ) -> Worker:
        """Refuse: a phone has no Python.

        Raises
        ------
        ConfigError
            Always.
        """
        raise ConfigError(f"{name}: a phone runs {self.tool} one shot at a time, it has no worker (accuracy=published)")

    def install(self) -> str:
        """Return where the benchmark program lies on the phone; it is pushed unless it is there already."""
        place = self._put(self._binary, f"{self.tool}-{self.tool_sha256[:16]}", self.tool_sha256)
        self.connection.shell(["chmod", "755", place])
        return place

    def put(self, model: Path) -> str:
        """Return where this file lies on the phone, under the hash of its content; it is pushed once."""
        sha256 = sha256_of(model)
        return self._put(model, f"model-{sha256[:16]}{model.suffix}", sha256)

    def shot(self, words: Sequence[str], *, limit_s: float) -> str:
        """Run one shot in the phone's folder and return what it prints.

        The phone itself ends it after `limit_s`, so that nothing runs on where the cable is pulled. It is
        never tried again: a shot that was lost is not known to have been whole.
        """
        command = ["timeout", f"{limit_s:.0f}", *words]
        try:
            return self.connection.shell(command, timeout_s=limit_s + _SLACK_S)
        except DeviceSetupError as error:
            text = str(error)
            if f"exit code {TIMED_OUT}." in text:
                raise TransportLostError(f"{self.tool} did not end within {limit_s:g} s and was killed.") from error
            if "exit code 126." in text or "Permission denied" in text:
                raise DeviceSetupError(
                    f"Phone {self.connection.serial} does not run {self.tool}: its folder forbids programs, or it was "
                    f"built for another processor than {self.hardware.arch}. Choose a device.folder below "
                    f"/data/local/tmp.\n{text}"
                ) from error
            raise

    def state(self) -> dict[str, Any]:
        """Return battery, heat, governors, screen and airplane mode now."""
        return tried(lambda: android.state(self.connection))

    def conditions(self, device: Device) -> dict[str, float]:  # noqa: ARG002
        """Return the numbers of `state`."""
        return dict(self.state()["conditions"])

    def environment(self, device: Device) -> dict[str, Any]:
        """Return everything about the phone that an artifact should keep; of this machine, where it came from."""
        kept = (
            "ro.build.fingerprint",
            "ro.build.version.release",
            "ro.build.version.security_patch",
            "ro.product.model",
        )
        return {
            "device": asdict(device),
            "hardware": asdict(self.hardware),
            "android": {name: self.properties[name] for name in kept if name in self.properties},
            "transport": {"kind": "adb", "tool": self.tool, "tool_sha256": self.tool_sha256},
            "controller": machine.software() | {"git": git_state(Path.cwd())},
            "state": self.state(),
        }

    def prune(self, *, older_than_s: float) -> tuple[list[str], int]:
        """Remove models and programs that were not used for so long; return their names and bytes."""
        minutes = f"+{older_than_s / 60:.0f}"
        folder = shlex.quote(self._folder)
        script = f"find {folder} -type f -mmin {minutes} -exec stat -c '%s %n' {{}} ';' -exec rm -f {{}} ';'"
        lines = [line.split(" ", 1) for line in self.connection.answer(script).splitlines() if line.strip()]
        return [name.rsplit("/", 1)[-1] for _, name in lines], sum(int(size) for size, _ in lines)

    def close(self) -> None:
        """Remove what a copy that was cut off has left."""
        with suppress(TransportError):  # a phone that is gone keeps it until the next time
            self.connection.answer(f"rm -f {shlex.quote(self._folder)}/.incoming-*")

    def _put(self, source: Path, name: str, sha256: str) -> str:
        place = f"{self._folder}/{name}"
        return tried(lambda: self._pushed(source, place, sha256))

    def _pushed(self, source: Path, place: str, sha256: str) -> str:
        """Push under a temporary name, verify, rename; nothing half copied is left under the name or beside it."""
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
            with suppress(TransportError):  # the phone may be gone: then `close` of the next connection removes it
                self.connection.answer(f"rm -f {shlex.quote(incoming)}")
            raise
        return place

    def _verify(self, place: str, sha256: str) -> None:
        if self._hash_there(place) != sha256:
            raise TransportLostError("what reached the phone is not what was sent")

    def _hash_there(self, place: str) -> str:
        return self.connection.answer(f"sha256sum {shlex.quote(place)}").split(" ")[0].strip()
