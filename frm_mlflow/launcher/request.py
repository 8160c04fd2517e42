"""What a job's process is told and what it answers; light, since whatever starts such a process imports it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

GRACE_S = 30.0
"""How long a job may take to close its runs when it is interrupted, or when whatever started it is gone."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """What a job's process is told; everything in it survives JSON."""

    version: str
    """Of frm-mlflow where the sweep was launched: a host must have the same."""
    label: str
    overrides: list[str]
    search_path: list[str]
    tracking_uri: str
    parent_run_id: str
    tags: dict[str, str]
    grace_s: float = GRACE_S


@dataclass(kw_only=True)
class Reply:
    """How the job's benchmarks ended, and what ended the job itself early ("" where nothing did)."""

    outcomes: list[dict[str, Any]] = field(default_factory=list)
    error: str = ""
    host: str = ""
    seconds: float = 0.0
