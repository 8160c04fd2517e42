"""Results kept on disk until the server has them.

Each finished run is one folder: `run.json`, and `artifacts/` with its files. The folder is written under
another name and then renamed, so a folder with a run's name is always complete. It is removed once
the server has the run. If the server does not respond, the folder stays, and `resend` sends it. A folder that is not
a saved run (truncated, modified, a link) is set aside with the reason, so that it never blocks the others.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path

import mlflow
import requests
from filelock import FileLock, Timeout
from google.protobuf import json_format
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from sqlalchemy.exc import SQLAlchemyError

from frm_mlflow import redact
from frm_mlflow.errors import DataError, FrmError, TrackingError
from frm_mlflow.folders import cache_folder, data_folder
from frm_mlflow.records import content_hash
from frm_mlflow.tracking.entry import ARTIFACTS_FOLDER, RunEntry, written_now
from frm_mlflow.tracking.run_files import NO_FILES, RunFiles
from frm_mlflow.tracking.send import Sent, send
from frm_mlflow.tracking.server import check_answer, connect

logger = redact.logger(__name__)

SPOOL_VARIABLE = "FRM_MLFLOW_SPOOL"
PARTIAL_PREFIX = ".partial-"
SET_ASIDE = "set-aside"
"""Folder within the spool for what `resend` could not read; each entry has a `.txt` next to it with the reason."""

MEMORY_DISK = "/dev/shm"  # noqa: S108 - a private folder there, if all else is full  # nosec B108

SERVER_ERRORS = (
    MlflowException,
    SQLAlchemyError,
    requests.RequestException,
    json_format.Error,
    OSError,
    TrackingError,
)
"""Errors that sending may raise and that are not caused by the result."""


def spool_directory(environ: Mapping[str, str] = os.environ) -> Path:
    """Return the folder of saved runs: `FRM_MLFLOW_SPOOL`, else `frm-mlflow/spool` in the user's data folder."""
    named = environ.get(SPOOL_VARIABLE)
    return Path(named) if named else data_folder() / "spool"


def pending(directory: Path | None = None) -> list[Path]:
    """Return the folders of saved runs, oldest first."""
    directory = directory or spool_directory()
    folders = (p for p in directory.glob("*") if p.is_dir() and not p.name.startswith((PARTIAL_PREFIX, SET_ASIDE)))
    return sorted(folders, key=lambda folder: folder.name)


def set_aside(directory: Path | None = None) -> list[Path]:
    """Return the folders that were set aside because they are not saved runs."""
    folder = (directory or spool_directory()) / SET_ASIDE
    return sorted(path for path in folder.glob("*") if path.suffix != ".txt")


def keep(entry: RunEntry, files: RunFiles = NO_FILES, *, directory: Path) -> Path:
    """Write a finished run to a separate folder in `directory` and return that folder.

    Raises
    ------
    OSError
        If it cannot be written (for example because the disk is full); nothing of it is left behind.
    """
    with _alone_in(directory):
        partial = Path(tempfile.mkdtemp(prefix=PARTIAL_PREFIX, dir=directory))
        try:
            entry.write(partial, files)
            folder = directory / f"{entry.end_ms:013d}-{entry.record_id or entry.run_id}"
            if not folder.exists():
                partial.rename(folder)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    return folder


@contextmanager
def _alone_in(directory: Path) -> Iterator[None]:
    """Be the only writer in the spool: partial folders found then were left by a process that was killed."""
    directory.mkdir(parents=True, exist_ok=True)
    lock = cache_folder() / "locks" / f"{content_hash(str(directory.resolve()))}.lock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(lock):
        for partial in directory.glob(f"{PARTIAL_PREFIX}*"):
            _remove(partial)
        yield


def _remove(path: Path) -> None:
    """Remove a folder, or a file or link in its place."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def keep_or_send(client: MlflowClient, entry: RunEntry, files: RunFiles = NO_FILES, *, directory: Path) -> Path | Sent:
    """Write a finished run to disk and return its folder; if no disk accepts it, send it immediately instead.

    Raises
    ------
    TrackingError
        If neither disk nor server accepts it: the result is lost, as the message states.
    """
    try:
        return keep(entry, files, directory=directory)
    except OSError as error:  # for example a full disk
        logger.warning("%s cannot be saved in %s (%s): it is sent directly", entry.name, directory, error)
    try:
        check_answer(client)
        for place in (tempfile.gettempdir(), MEMORY_DISK):
            with suppress(OSError), tempfile.TemporaryDirectory(prefix="frm-", dir=place) as folder:
                entry.write(Path(folder), files)
                return send(client, entry, Path(folder) / ARTIFACTS_FOLDER)
        logger.warning("the files of %s are lost: no disk accepts them", entry.name)
        return send(client, entry)
    except SERVER_ERRORS as error:
        raise TrackingError(
            f"the result of {entry.name} is lost: neither the disk nor the server accepts it: {error}"
        ) from error


def try_deliver(client: MlflowClient, folder: Path) -> str | None:
    """Send the saved run in `folder`; return its run id, or None if it has to stay on disk (which is logged)."""
    try:
        return deliver(client, folder)
    except SERVER_ERRORS as error:
        logger.warning("%s. The result is saved in %s: `frm-mlflow resend` logs it.", str(error).rstrip("."), folder)
        return None


def deliver(client: MlflowClient, folder: Path, *, metrics: bool = True) -> str | None:
    """Send the saved run in `folder` and remove it; return its run id, or None if another process is sending it.

    If `metrics` is false, they are left out: the caller logs them. An interrupt (Ctrl-C) takes effect after the run
    has been sent.

    Raises
    ------
    MlflowException, TrackingError, OSError, ...
        One of `SERVER_ERRORS`, if it has to stay on disk.
    """
    with claimed(folder) as mine:
        if not mine:
            return None
        entry = RunEntry.read(folder) if metrics else replace(RunEntry.read(folder), metrics={})
        try:
            check_answer(client)
            sent = send(client, entry, folder / ARTIFACTS_FOLDER)
        except KeyboardInterrupt:
            send(client, entry, folder / ARTIFACTS_FOLDER)
            _discard(folder)
            raise
        _discard(folder)
        return sent.run_id


def _discard(folder: Path) -> None:
    """Remove a saved run; it is renamed first, so that it is never a saved run without its files."""
    done = folder.rename(folder.with_name(f"{PARTIAL_PREFIX}{folder.name}"))
    shutil.rmtree(done)


@contextmanager
def claimed(folder: Path) -> Iterator[bool]:
    """Lock a saved run against other processes; yields whether the lock was acquired and the run still exists."""
    path = folder.with_name(f"{folder.name}.lock")
    if path.is_symlink():
        path.unlink()
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        yield False
        return
    try:
        yield folder.exists()
    finally:
        lock.release()
        if not folder.exists():
            Path(lock.lock_file).unlink(missing_ok=True)


@dataclass(frozen=True)
class ResendReport:
    """Result of `resend`, in numbers of runs.

    `sent` were logged, `present` had already arrived. `left` are the folders that stay, with the reason;
    `set_aside` are those that are not saved runs, with their new place and the reason.
    """

    sent: int
    present: int
    left: tuple[tuple[Path, str], ...]
    set_aside: tuple[tuple[Path, str], ...] = ()


def resend(
    directory: Path | None = None,
    *,
    uri: str | None = None,
    only: str | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> ResendReport:
    """Log the saved runs in `directory`, each to its intended server, exactly once.

    Parameters
    ----------
    directory
        The spool; None uses `spool_directory()`.
    uri
        Sends every run to this server instead (for example because the old one has a new address).
    only
        Sends only the runs that are intended for this server.
    on_progress
        Called with the number of runs handled and the total.
    """
    directory = directory or spool_directory()
    addresses = [address for address in (uri, only, mlflow.get_tracking_uri()) if address]
    folders: list[Path] = []
    if directory.exists():
        with _alone_in(directory):
            folders = [folder for folder in pending(directory) if only is None or _is_meant_for(folder, only)]
    clients: dict[str, MlflowClient | TrackingError] = {}
    results: list[tuple[Path, Sent | str]] = []
    aside = []
    for done, folder in enumerate(folders, start=1):
        try:
            results.append((folder, _resend_one(folder, uri, addresses, clients)))
        except DataError as error:
            aside.append(_put_aside(folder, str(error)))
        if on_progress:
            on_progress(done, len(folders))
    logged = [result.logged for _, result in results if isinstance(result, Sent)]
    left = [(folder, result) for folder, result in results if isinstance(result, str)]
    return ResendReport(sum(logged), len(logged) - sum(logged), tuple(left), tuple(aside))


def _is_meant_for(folder: Path, uri: str) -> bool:
    try:
        return RunEntry.read(folder).tracking_uri in (uri, redact.text(uri))
    except DataError:  # a plain `resend` sets it aside
        return False


def _put_aside(folder: Path, reason: str) -> tuple[Path, str]:
    """Move what is not a saved run out of the way and write down why; return its new place and the reason."""
    store = folder.parent / SET_ASIDE
    place = store / folder.name
    number = count(2)
    try:
        if store.is_symlink():
            store.unlink()
        store.mkdir(exist_ok=True)
        while os.path.lexists(place):
            place = store / f"{folder.name}-{next(number)}"
        folder.rename(place)
        place.with_name(f"{place.name}.txt").write_text(f"{reason}\n", encoding="utf-8")
    except OSError as error:
        return folder, f"{reason} (and it cannot be set aside: {error})"
    return place, reason


def _resend_one(
    folder: Path, uri: str | None, addresses: Sequence[str], clients: dict[str, MlflowClient | TrackingError]
) -> Sent | str:
    """Send one saved run; return its run, or why it stays.

    Raises
    ------
    DataError
        If it is not a saved run.
    """
    try:
        with claimed(folder) as mine:
            if not mine:
                return "another process is sending it"
            entry = RunEntry.read(folder)
            client = _client(uri or _address(entry, addresses), clients)
            if isinstance(client, TrackingError):
                return str(client)
            marked = written_now(entry) if entry.record_id and not entry.joins else entry
            sent = send(client, marked, folder / ARTIFACTS_FOLDER)
            _discard(folder)
            return sent
    except DataError:
        raise
    except (*SERVER_ERRORS, FrmError) as error:
        return redact.text(str(error))
    except Exception as error:  # if one result fails, the others are still sent
        logger.exception("%s cannot be sent", folder)
        return redact.text(f"{type(error).__name__}: {error}")


def _address(entry: RunEntry, addresses: Sequence[str]) -> str:
    """Return the address of an entry's server with its password, which is not stored on disk.

    Raises
    ------
    TrackingError
        If no current setting contains it.
    """
    stored = entry.tracking_uri
    if redact.HIDDEN not in stored:
        return stored
    for address in addresses:
        if redact.text(address) == stored:
            return address
    raise TrackingError(
        f"it is for {stored}, and passwords are not kept on disk: set MLFLOW_TRACKING_URI to the full address, "
        "or give it with `frm-mlflow resend --uri`"
    )


def _client(uri: str, clients: dict[str, MlflowClient | TrackingError]) -> MlflowClient | TrackingError:
    """Return the server's client, or why it cannot be reached; each server is tried once."""
    if uri not in clients:
        try:
            clients[uri] = connect(uri)
        except TrackingError as error:
            clients[uri] = error
    return clients[uri]
