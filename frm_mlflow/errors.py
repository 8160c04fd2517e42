"""Errors that name the remedy.

Everything that a user can cause ends in one of these; the command line prints the message
alone, without a traceback, and exits with the error's `exit_code`.
"""

from __future__ import annotations

import importlib.util
import re
from importlib import metadata

from frm_mlflow import redact


def install_command(extra: str) -> str:
    """Return the command that adds an extra to this environment; one that uv made has no pip.

    Both programs take the installed frm-mlflow for the requirement and download what the extra lacks.
    """
    program = "pip" if importlib.util.find_spec("pip") else "uv pip"
    return f"{program} install 'frm-mlflow[{extra}]'"


def extra_of(module: str) -> str | None:
    """Return the extra that installs `module`, by the requirements of the installed frm-mlflow; None if there is none.

    >>> extra_of("torch"), extra_of("torch.nn"), extra_of("no_such_module")
    ('bench', 'bench', None)
    """
    top = module.partition(".")[0]
    distribution = {"PIL": "pillow"}.get(top, top).replace("_", "-").lower()
    for line in metadata.requires("frm-mlflow") or ():
        found = re.fullmatch(r"([\w.-]+).*;.*extra == [\"'](\w+)[\"'].*", line)
        if found and found[1].replace("_", "-").lower() == distribution:
            return found[2]
    return None


class FrmError(Exception):
    """Base of all errors that frm-mlflow raises on purpose."""

    exit_code = 1

    def __str__(self) -> str:
        """Return the message without secrets: it is printed, and logged as the reason of a run."""
        return redact.text(super().__str__())


class ConfigError(FrmError):
    """A setting is missing, unknown or contradicts another; the message lists what is valid."""

    exit_code = 2


class DeviceMismatchError(ConfigError):
    """The named device is not the hardware that was found."""


class MissingExtraError(ConfigError):
    """An optional dependency is not installed; the message names the extra to install."""

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        super().__init__(
            f"{purpose} needs the package '{package}', which is not installed: run `{install_command(extra)}`."
        )
        self.package = package
        self.extra = extra


class ModelError(FrmError):
    """A network cannot be built, or its weights cannot be made fit to be measured."""


class ExportError(FrmError):
    """A network cannot be turned into a runtime's format; carries the converter's reason."""


class FleetError(FrmError):
    """The cluster of a fleet cannot be reached, or refuses; the message says how one is started."""


class DeviceBusyError(FrmError):
    """Another process measures on the device; the message names it and the setting for how long to wait."""


class WorkerError(FrmError):
    """A worker crashed, hung or answered garbage; carries its last output."""


class TransportError(WorkerError):
    """The way to another device failed: nothing that it was asked for has been measured."""


class TransportLostError(TransportError):
    """A connection that stood is gone; what ran over it is not measured and can be resumed."""


class DeviceOfflineError(TransportError):
    """A device cannot be reached: it is switched off, unplugged, or under another address."""


class DeviceUnauthorizedError(TransportError):
    """A device is there and does not let this machine in."""

    exit_code = 2


class HostKeyError(TransportError):
    """A host's key is not known, or is another than the known one."""

    exit_code = 2


class DeviceFullError(TransportError):
    """A device has no room for what must be copied to it."""


class WorkerVersionError(TransportError):
    """The program on the device is another than the one that this version speaks with."""

    exit_code = 2


class DeviceSetupError(TransportError):
    """Something is missing on the device: Python, a package, a program, the right to run it."""

    exit_code = 2


class IdentityError(FrmError):
    """An artefact computes something else than the reference model."""


class TrackingError(FrmError):
    """The tracking server cannot be reached or refused a request."""


class DataError(FrmError):
    """Rows that were read cannot be used: no runs, no baseline, mixed units."""


class ImportFileError(DataError):
    """A foreign result file is broken, hostile or not what its name says; names file and row."""

    def __init__(self, problem: str, *, file: str = "", row: str = "") -> None:
        place = f"{file}, row {row}" if row else file
        super().__init__(f"{place}: {problem}" if place else problem)
        self.problem = problem
        self.file = file
        self.row = row


class MissingFactError(ConfigError):
    """A file does not state a fact that a benchmark needs, and `source.given` does not state it either."""
