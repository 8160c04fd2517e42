"""Errors that name the remedy.

Every error that a user can cause is one of these. The command line prints only the message,
without a traceback, and exits with the error's `exit_code`.
"""

from __future__ import annotations

import importlib.util
import re
from importlib import metadata

from frm_mlflow import redact


def install_command(extra: str) -> str:
    """Return the command that adds an extra to this environment; an environment created by uv has no pip.

    Both programs satisfy the requirement with the installed frm-mlflow and download what the extra lacks.
    """
    program = "pip" if importlib.util.find_spec("pip") else "uv pip"
    return f"{program} install 'frm-mlflow[{extra}]'"


def extra_of(module: str) -> str | None:
    """Return the extra that installs `module`, by the requirements of the installed frm-mlflow, or None.

    >>> extra_of("torch"), extra_of("torch.nn"), extra_of("no_such_module")
    ('bench', 'bench', None)
    """
    top = module.partition(".")[0]
    distribution = {"PIL": "pillow"}.get(top, top).replace("_", "-").lower()
    for line in metadata.requires("frm-mlflow") or ():
        match = re.fullmatch(r"([\w.-]+).*;.*extra == [\"'](\w+)[\"'].*", line)
        if match and match[1].replace("_", "-").lower() == distribution:
            return match[2]
    return None


class FrmError(Exception):
    """Base class of all errors that frm-mlflow raises on purpose."""

    exit_code = 1

    def __str__(self) -> str:
        """Return the message without secrets: it is printed, and logged as the reason of a run."""
        return redact.text(super().__str__())


class ConfigError(FrmError):
    """A setting is missing, unknown or contradicts another; the message lists what is valid."""

    exit_code = 2


class DeviceMismatchError(ConfigError):
    """The named device does not match the detected hardware."""


class MissingExtraError(ConfigError):
    """An optional dependency is not installed; the message names the extra to install."""

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        super().__init__(
            f"{purpose} needs the package '{package}', which is not installed: run `{install_command(extra)}`."
        )
        self.package = package
        self.extra = extra


class ModelError(FrmError):
    """A network cannot be built, or its weights cannot be made suitable for measurement."""


class ExportError(FrmError):
    """A network cannot be converted to a runtime's format; contains the converter's reason."""


class FleetError(FrmError):
    """The cluster of a fleet cannot be reached or refuses; the message explains how to start one."""


class DeviceBusyError(FrmError):
    """Another process measures on the device; the message names it and the setting for how long to wait."""


class WorkerError(FrmError):
    """A worker crashed, hung or returned invalid output; contains its last output."""


class TransportError(WorkerError):
    """The connection to another device failed: nothing that was requested has been measured."""


class TransportLostError(TransportError):
    """An established connection was lost; what ran over it is not measured and can be resumed."""


class DeviceOfflineError(TransportError):
    """A device cannot be reached: it is switched off, unplugged, or has another address."""


class DeviceUnauthorizedError(TransportError):
    """A device is present but does not accept connections from this machine."""

    exit_code = 2


class HostKeyError(TransportError):
    """A host's key is unknown, or differs from the known one."""

    exit_code = 2


class DeviceFullError(TransportError):
    """A device has no space for what must be copied to it."""


class WorkerVersionError(TransportError):
    """The version of the program on the device is not the one that this version works with."""

    exit_code = 2


class DeviceSetupError(TransportError):
    """Something is missing on the device: Python, a package, a program, or the right to run it."""

    exit_code = 2


class IdentityError(FrmError):
    """An exported model does not compute the same as the reference model."""


class TrackingError(FrmError):
    """The tracking server cannot be reached or refused a request."""


class DataError(FrmError):
    """Rows that were read cannot be used: no runs, no baseline, mixed units."""


class ImportFileError(DataError):
    """A foreign result file is broken, malicious or not of the type that its name implies; names file and row."""

    def __init__(self, problem: str, *, file: str = "", row: str = "") -> None:
        place = f"{file}, row {row}" if row else file
        super().__init__(f"{place}: {problem}" if place else problem)
        self.problem = problem
        self.file = file
        self.row = row


class MissingFactError(ConfigError):
    """A file does not state a fact that a benchmark needs, and `source.given` does not state it either."""
