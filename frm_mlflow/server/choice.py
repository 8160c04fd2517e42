"""The user's choices on the page: the query string of its URL, validated on entry."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from frm_mlflow.errors import ConfigError
from frm_mlflow.report.board import METRIC_NAMES
from frm_mlflow.schema import BATCH_SIZE, DEVICE, FRM, PRECISION, RUNTIME, TIER

FILTERS: tuple[str, ...] = tuple(tag.column for tag in (TIER, DEVICE, RUNTIME, PRECISION, BATCH_SIZE))
"""Columns of a configuration that the page filters by."""
DEFAULT_BASELINE = "resnet50"
_LONGEST = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Filters (a missing one matches any value), configurations by key, baseline and cost metric."""

    filters: Mapping[str, str]
    configuration: str = ""
    other: str = ""
    baseline: str = DEFAULT_BASELINE
    metric: str = FRM.column
    compares: bool = False
    """Whether two configurations are compared: the others are listed only in that case."""


def choice_of(query: Mapping[str, str]) -> Choice:
    """Return the choice that a query string describes; unknown parameters are ignored.

    Raises
    ------
    ConfigError
        If the metric is unknown or a value is longer than a name can be.
    """
    names = (*FILTERS, "configuration", "other", "baseline", "target")
    too_long = [name for name in names if len(query.get(name, "")) > _LONGEST]
    if too_long:
        raise ConfigError(f"{', '.join(too_long)}: at most {_LONGEST} characters")
    metric = query.get("metric") or FRM.column
    if metric not in METRIC_NAMES:
        raise ConfigError(f"metric must be one of {', '.join(METRIC_NAMES)}, got '{metric}'")
    return Choice(
        filters={name: query[name] for name in FILTERS if query.get(name)},
        configuration=query.get("configuration", ""),
        other=query.get("other", ""),
        baseline=query.get("baseline") or DEFAULT_BASELINE,
        metric=metric,
        compares=query.get("view") == "compare",
    )
