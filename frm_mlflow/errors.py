"""Errors that name the remedy.

Everything that a user can cause ends in one of these; the command line prints the message
alone, without a traceback, and exits with the error's `exit_code`.
"""

from __future__ import annotations


class FrmError(Exception):
    """Base of all errors that frm-mlflow raises on purpose."""

    exit_code = 1


class ConfigError(FrmError):
    """A setting is missing, unknown or contradicts another; the message lists what is valid."""

    exit_code = 2


class DeviceMismatchError(ConfigError):
    """The named device is not the hardware that was found."""


class MissingExtraError(ConfigError):
    """An optional dependency is not installed; the message names the extra to install."""

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        super().__init__(
            f"{purpose} needs the package '{package}', which is not installed: run `pip install 'frm-mlflow[{extra}]'`."
        )
        self.package = package
        self.extra = extra


class ModelError(FrmError):
    """A network cannot be built, or its weights cannot be made fit to be measured."""


class ExportError(FrmError):
    """A network cannot be turned into a runtime's format; carries the converter's reason."""


class WorkerError(FrmError):
    """A worker crashed, hung or answered garbage; carries its last output."""


class IdentityError(FrmError):
    """An artefact computes something else than the reference model."""


class TrackingError(FrmError):
    """The tracking server cannot be reached or refused a request."""


class DataError(FrmError):
    """Rows that were read cannot be used: no runs, no baseline, mixed units."""


class ImportFileError(DataError):
    """A foreign result file is broken, hostile or not what its name says; names file and row."""
