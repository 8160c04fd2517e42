"""An `adb` connection to one phone: every state and failure that adb reports becomes a typed error with a remedy.

adb's output is matched against the wording in its source code (adb/client, adb/transport.cpp). adb writes
its own errors to standard error, before or after lines about its daemon.
"""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from frm_mlflow.errors import (
    ConfigError,
    DeviceFullError,
    DeviceOfflineError,
    DeviceSetupError,
    DeviceUnauthorizedError,
    TransportError,
    TransportLostError,
)

READY = "device"
_ASK_S = 60.0
_END = "frm-exit:"
"""Last line of the phone's shell, with the exit code: adb itself exits with 0 even if the phone was unplugged."""
_STATES: Mapping[str, tuple[type[TransportError], str]] = {
    "unauthorized": (
        DeviceUnauthorizedError,
        "unlock it and accept this computer's key in the dialog. If none appears, revoke its USB debugging "
        "authorisations and reconnect it",
    ),
    "authorizing": (DeviceUnauthorizedError, "unlock it and accept this computer's key in the dialog"),
    "offline": (
        DeviceOfflineError,
        "reconnect it, or run `adb reconnect offline`; if that does not help, `adb kill-server`",
    ),
    "connecting": (DeviceOfflineError, "wait until it has started"),
    "no permissions": (
        DeviceUnauthorizedError,
        "give your user access to USB devices (udev rules of android-sdk-platform-tools-common, group plugdev)",
    ),
    "recovery": (DeviceOfflineError, "start Android on it"),
    "sideload": (DeviceOfflineError, "start Android on it"),
    "bootloader": (DeviceOfflineError, "start Android on it"),
}
"""State in `adb devices` → the error, and the remedy."""


def adb_error(serial: str, output: str) -> TransportError:
    """Return the error for the output of a failed adb command."""
    last = next((line.strip() for line in reversed(output.splitlines()) if line.strip()), "no reason given")
    if "No space left on device" in output:
        return DeviceFullError(
            f"Phone {serial} is full ({last}): free space on it, or remove earlier copies (`frm-mlflow device prune`)."
        )
    if "unauthorized" in output:
        return _state_error(serial, "unauthorized")
    if "device offline" in output:
        return _state_error(serial, "offline")
    if re.search(r"device '.*' not found|no devices/emulators found|device not found", output):
        return DeviceOfflineError(f"Phone {serial} is no longer connected ({last}): plug it in.")
    if "Permission denied" in output:
        return DeviceSetupError(f"Phone {serial} denies access: {last}. Choose a device.folder below /data/local/tmp.")
    return TransportLostError(
        f"The connection to phone {serial} was lost ({last}); the measurement over it was discarded."
    )


class AdbConnection:
    """One phone, addressed by its `adb` serial number."""

    def __init__(self, serial: str | None) -> None:
        adb = shutil.which("adb")
        if adb is None:
            raise ConfigError(
                "device.transport=adb needs `adb` on the PATH: install Android's platform-tools (apt: adb)."
            )
        self._adb = adb
        self.serial = _selected(self._adb_alone("devices", "-l"), serial)

    def shell(self, words: Sequence[str], *, timeout_s: float = _ASK_S) -> str:
        """Return what a program on the phone prints, including its errors.

        Raises
        ------
        TransportError
            If adb fails, or the program exits with a code other than 0.
        """
        code, output, errors = self._on_phone(shlex.join(words), timeout_s)
        if code:
            raise DeviceSetupError(
                f"Phone {self.serial}: '{words[0]}' ended with exit code {code}.\n{(output + errors).strip()[-2000:]}"
            )
        return output + errors

    def answer(self, script: str) -> str:
        """Return what a shell command prints, "" if it fails: for facts that not every phone reports."""
        code, output, _ = self._on_phone(script, _ASK_S)
        return output if not code else ""

    def push(self, source: Path, target: str, *, timeout_s: float) -> None:
        """Copy a file to the phone."""
        code, output, errors = self._run(["push", str(source), target], timeout_s)
        if code:
            raise adb_error(self.serial, output + errors)

    def _on_phone(self, script: str, timeout_s: float) -> tuple[int, str, str]:
        """Return exit code, output and errors of a script on the phone; raise if its last line did not arrive."""
        _, output, errors = self._run(["shell", f"{script}; end=$?; echo; echo {_END}$end"], timeout_s)
        whole, end, code = output.rpartition(f"\n{_END}")
        if end and code.strip().isdigit():
            return int(code), whole, errors
        if _is_adbs_own(errors):
            raise adb_error(self.serial, errors)
        self._check_presence()
        raise TransportLostError(
            f"The output of '{script.split()[0]}' on phone {self.serial} was cut off: adb or the cable failed."
        )

    def _check_presence(self) -> None:
        """Raise if the phone is no longer connected."""
        _, output, errors = self._run(["get-state"], _ASK_S)
        if output.strip() != READY:
            raise adb_error(self.serial, errors or output)

    def _run(self, words: Sequence[str], timeout_s: float) -> tuple[int, str, str]:
        command = [self._adb, "-s", self.serial, *words]
        try:
            done = subprocess.run(
                command, capture_output=True, stdin=subprocess.DEVNULL, timeout=timeout_s, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise TransportLostError(
                f"Phone {self.serial} did not respond to 'adb {words[0]}' within {timeout_s:g} s."
            ) from error
        return done.returncode, _text(done.stdout), _text(done.stderr)

    def _adb_alone(self, *words: str) -> str:
        try:
            done = subprocess.run([self._adb, *words], capture_output=True, timeout=_ASK_S, check=False)
        except subprocess.TimeoutExpired as error:
            raise DeviceOfflineError("adb's server does not respond: run `adb kill-server` and try again.") from error
        if done.returncode:
            raise DeviceOfflineError(f"adb fails: {(_text(done.stdout) + _text(done.stderr)).strip()}")
        return _text(done.stdout)


def phones(listing: str) -> dict[str, str]:
    r"""Return serial and state of each phone in the output of `adb devices`.

    >>> phones("List of devices attached\nR5CW20ABCDE\tdevice\n0A091\tno permissions; see [...]\n")
    {'R5CW20ABCDE': 'device', '0A091': 'no permissions'}
    """
    lines = [line for line in listing.splitlines() if not line.startswith(("List of devices", "*"))]
    matches = [re.match(r"(\S+)\s+(no permissions|\S+)", line) for line in lines]
    return {match[1]: match[2] for match in matches if match}


def _selected(listing: str, serial: str | None) -> str:
    """Return the serial of the phone to use; raise if there are several and none was selected."""
    states = phones(listing)
    if serial is not None and serial not in states:
        raise DeviceOfflineError(
            f"adb finds no phone {serial} ({_listed(states)}): plug it in and enable USB debugging."
        )
    if serial is None and not states:
        raise DeviceOfflineError("adb finds no phone: plug one in and enable USB debugging (developer options).")
    if serial is None and len(states) > 1:
        raise ConfigError(f"adb finds several phones ({_listed(states)}): select one with device.serial=SERIAL.")
    serial = serial or next(iter(states))
    if states[serial] != READY:
        raise _state_error(serial, states[serial])
    return serial


def _state_error(serial: str, state: str) -> TransportError:
    kind, remedy = _STATES.get(state, (DeviceOfflineError, "see `adb devices -l`"))
    return kind(f"Phone {serial} is in the state '{state}': {remedy}.")


def _listed(states: Mapping[str, str]) -> str:
    return ", ".join(f"{serial}: {state}" for serial, state in states.items()) or "no phone is connected"


def _is_adbs_own(errors: str) -> bool:
    return bool(re.search(r"(?m)^(adb: |error: (device|closed|no devices|protocol fault|more than one))", errors))


def _text(content: bytes) -> str:
    return content.decode(errors="replace").replace("\r\n", "\n")
