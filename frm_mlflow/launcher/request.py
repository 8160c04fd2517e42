"""Request to and reply from a job's process; a light module, since whatever starts such a process imports it."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field, fields
from typing import Any

GRACE_S = 30.0
"""How long a job may take to close its runs when it is interrupted, or when the process that started it has ended."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """Input of a job's process; everything in it survives JSON."""

    version: str
    """Version of frm-mlflow that launched the sweep: a host must have the same."""
    label: str
    overrides: list[str]
    search_path: list[str]
    tracking_uri: str
    parent_run_id: str
    tags: dict[str, str]
    grace_s: float = GRACE_S


@dataclass(kw_only=True)
class Reply:
    """How the job's benchmarks ended, and the error that ended the job itself early, or ""."""

    outcomes: list[dict[str, Any]] = field(default_factory=list)
    error: str = ""
    host: str = ""
    seconds: float = 0.0


_OUTCOME: dict[str, Any] = {"name": str, "status": str, "run_id": (str, type(None)), "record_id": str, "reason": str}
_OUTCOME |= {"kept": (str, type(None))}


def reply_of(text: str, *, sender: str) -> Reply:
    """Return a reply that was received as JSON; an invalid one becomes an error of the job that names `sender`."""
    try:
        plain = json.loads(text)
        _check(plain)
        return Reply(**plain)
    except (ValueError, TypeError, RecursionError) as error:
        return Reply(error=f"{sender} sent a wrong reply ({str(error)[:200]}): {text[:200]!r}")


def _check(plain: Any) -> None:
    """Raise `TypeError` or `ValueError` unless these are the plain values of a reply."""
    if not isinstance(plain, dict) or not set(plain) <= {item.name for item in fields(Reply)}:
        raise TypeError("not the fields of a reply")
    if not all(isinstance(plain.get(key, ""), str) for key in ("error", "host")):
        raise TypeError("error and host must be text")
    seconds = plain.get("seconds", 0.0)
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not math.isfinite(seconds) or seconds < 0:
        raise ValueError("seconds must be a number that is not negative")
    outcomes = plain.get("outcomes", [])
    if not isinstance(outcomes, list) or not all(_is_outcome(item) for item in outcomes):
        raise TypeError("not the fields of an outcome")


def _is_outcome(item: Any) -> bool:
    if not isinstance(item, dict) or set(item) != set(_OUTCOME):
        return False
    typed = all(isinstance(item[key], kind) for key, kind in _OUTCOME.items())
    return typed and item["status"] in ("FINISHED", "FAILED", "KILLED")
