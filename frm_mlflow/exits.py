"""Ends a Hydra job with one sentence and an exit code, without Hydra's own output around it."""

from __future__ import annotations

import errno
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, MissingConfigException
from hydra.types import RunMode
from omegaconf.errors import OmegaConfBaseException

from frm_mlflow import redact
from frm_mlflow.errors import FrmError, MissingExtraError, extra_of
from frm_mlflow.near import did_you_mean

_PLACE_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM)
_ADVICE = r"\nSee https?://|\nTo append to your|\n1\. To use it as a list"
_PLACES = "TMPDIR, XDG_CACHE_HOME, XDG_DATA_HOME or FRM_CACHE_DIR"


@contextmanager
def hydra_job() -> Iterator[None]:
    """End the process with the error's message and exit code; in a multirun let Hydra continue with the next job."""
    try:
        yield
    except Exception as error:
        if not is_explained(error) or HydraConfig.get().mode is RunMode.MULTIRUN:
            raise
        sys.stderr.write(f"frm-mlflow: {sentence(error)}\n")
        raise SystemExit(exit_code(error)) from error


def is_explained(error: BaseException) -> bool:
    """Return whether the message of `error` explains how to fix it, so that a traceback would only hide it."""
    if isinstance(error, (FrmError, HydraException, OmegaConfBaseException)):
        return True
    return _is_of_a_place(error) or _is_of_the_server(error) or _missing_extra(error) is not None


def sentence(error: BaseException) -> str:
    """Return the useful part of `error`: without Hydra's search path, the link to its grammar and its advice."""
    if _is_of_a_place(error):
        return redact.text(f"{error}. Make room there, or set {_PLACES} to a folder that can be written.")
    if _is_of_the_server(error):
        lines = str(error).splitlines() or [type(error).__name__]
        return redact.text(f"the tracking server or store failed: {lines[0][:1000]}")
    if (extra := _missing_extra(error)) is not None:
        return str(MissingExtraError(str(getattr(error, "name", "")), extra, "this command"))
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        return _no_such_name(error)
    text = str(error).split("Config search path")[0].rstrip()
    if not isinstance(error, (HydraException, OmegaConfBaseException)):
        return text
    return " ".join(re.split(_ADVICE, text)[0].split("\n")).strip()


def _no_such_name(error: MissingConfigException) -> str:
    group, _, name = str(error.missing_cfg_file).rpartition("/")
    names = [str(option) for option in error.options or ()]
    available = f" Available: {', '.join(names)}." if names else ""
    return f"there is no {group or 'configuration'} '{name}'.{did_you_mean(name, names)}{available}"


def _missing_extra(error: BaseException) -> str | None:
    """Return the extra that installs the missing package."""
    return extra_of(error.name or "") if isinstance(error, ModuleNotFoundError) else None


def exit_code(error: BaseException) -> int:
    """Return the exit code: that of an FrmError, 2 for an invalid configuration or a missing extra, else 1."""
    if isinstance(error, FrmError):
        return error.exit_code
    return 2 if isinstance(error, (HydraException, OmegaConfBaseException, ModuleNotFoundError)) else 1


def _is_of_a_place(error: BaseException) -> bool:
    """Return whether the cause is a folder that is full, read-only or not accessible to us."""
    if isinstance(error, FileNotFoundError) and "temporary directory" in str(error):
        return True
    return isinstance(error, OSError) and error.errno in _PLACE_ERRORS


def _is_of_the_server(error: BaseException) -> bool:
    if type(error).__module__.split(".")[0] not in ("mlflow", "requests", "sqlalchemy", "google"):
        return False
    from frm_mlflow.tracking.spool import SERVER_ERRORS

    return isinstance(error, SERVER_ERRORS)
