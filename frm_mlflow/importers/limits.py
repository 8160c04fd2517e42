"""Limits for files from other tools: `source.limits` sets size, rows and time; depth and counts are fixed."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import NoReturn

from frm_mlflow.config import ReadLimits
from frm_mlflow.errors import ImportFileError

MAX_LINE = 2**20
MAX_LINES = 2_000_000
MAX_MEMBERS = 100_000
MAX_DEPTH = 60
MAX_CONTAINERS = 500_000
MAX_VALUES = 5_000_000
MAX_COLUMNS = 2_000

_LIMITS: ContextVar[ReadLimits] = ContextVar("limits", default=ReadLimits())  # noqa: B039 - it is frozen
_STARTED_S: ContextVar[float | None] = ContextVar("started_s", default=None)


def fail(file: str, problem: str, *, row: object = None) -> NoReturn:
    """Raise an error about a file, with the row if there is one."""
    raise ImportFileError(problem, file=file, row="" if row is None else str(row))


@contextmanager
def limited(limits: ReadLimits) -> Iterator[None]:
    """Apply `limits` to all files that are read inside the block."""
    token = _LIMITS.set(limits)
    try:
        yield
    finally:
        _LIMITS.reset(token)


@contextmanager
def expected_layout(file: str) -> Iterator[None]:
    """Limit the CPU time for one file, and turn errors caused by its layout into one that names the file."""
    token = _STARTED_S.set(time.thread_time())
    try:
        yield
    except (KeyError, TypeError, AttributeError, ValueError, LookupError, ArithmeticError, RecursionError) as error:
        fail(file, f"is not laid out as its format is ({type(error).__name__}: {str(error)[:200]})")
    finally:
        _STARTED_S.reset(token)


def current() -> ReadLimits:
    """Return the limits that apply here."""
    return _LIMITS.get()


def max_bytes() -> int:
    """Return `source.limits.max_mib` in bytes."""
    return int(current().max_mib * 2**20)


def within_time(file: str) -> None:
    """Raise if the file has taken more CPU time than `source.limits.max_seconds`."""
    started_s = _STARTED_S.get()
    limit_s = _LIMITS.get().max_seconds
    if started_s is not None and time.thread_time() - started_s > limit_s:
        fail(file, f"takes more than {limit_s:g} s of CPU time to read; source.limits.max_seconds sets the limit")
