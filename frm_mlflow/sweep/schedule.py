"""The schedule of a sweep: what will run, what is already done, and the estimated time based on past runs."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field

import pandas as pd
from mlflow import MlflowClient
from rich.console import Console
from rich.table import Table

from frm_mlflow import frame, schema
from frm_mlflow.errors import DataError, TrackingError
from frm_mlflow.sweep.plan import BenchmarkPlan
from frm_mlflow.tracking.query import benchmarks

SAME_SETTINGS = "the same settings"
SAME_MODEL = "the same model, runtime and device"
SAME_DEVICE = "other models on the device"


@dataclass(frozen=True)
class Step:
    """One planned benchmark of a sweep."""

    label: str
    device: str
    done: str = ""
    """The run below the sweep's parent that has already measured it; "" if it still has to run."""
    seconds: float | None = None
    """Median duration of comparable past runs; None if the server has none."""
    basis: str = ""
    """What those past runs have in common with it."""


@dataclass(frozen=True)
class Schedule:
    """The benchmarks of a sweep, in the order in which they are to run on each device."""

    steps: tuple[Step, ...]
    units: Mapping[str, float] = field(default_factory=dict)
    """Number of units per device, which run at the same time; one is assumed if a device is not listed."""
    side_by_side: bool = False
    """Whether devices run at the same time (a fleet) or one after the other."""

    @property
    def to_run(self) -> list[Step]:
        """Return the steps that are not done."""
        return [step for step in self.steps if not step.done]

    @property
    def unknown(self) -> int:
        """Return how many of those have no estimate from a past run."""
        return sum(step.seconds is None for step in self.to_run)

    def seconds_by_device(self) -> dict[str, float]:
        """Return the estimated remaining time per device, as far as past runs allow."""
        totals: dict[str, float] = {}
        for step in self.to_run:
            share = (step.seconds or 0.0) / max(1.0, self.units.get(step.device, 1.0))
            totals[step.device] = totals.get(step.device, 0.0) + share
        return totals

    @property
    def seconds(self) -> float:
        """Return the estimated time until the sweep ends, as far as past runs allow."""
        totals = list(self.seconds_by_device().values())
        return (max if self.side_by_side else sum)(totals) if totals else 0.0

    def sentence(self) -> str:
        """Return one sentence that summarises the schedule."""
        left, done = len(self.to_run), len(self.steps) - len(self.to_run)
        parts = [f"{len(self.steps)} benchmarks: {done} done already, {left} to run"]
        if left > self.unknown:
            parts.append(f"about {_duration(self.seconds)} by past runs")
        if self.unknown and left:
            parts.append(f"{self.unknown} that no past run resembles")
        return ", ".join(parts)


class Past:
    """Facts about finished benchmarks from the tracking server."""

    def __init__(self, finished: pd.DataFrame, *, parent_run_id: str | None = None) -> None:
        measured = finished[finished["source"] == schema.SOURCE_MEASURED]
        seconds = (measured["end_time"] - measured["start_time"]).dt.total_seconds()
        self._by_hash = _medians(seconds, measured, ["config_hash"])
        self._by_model = _medians(seconds, measured, ["device", "model", "runtime", "precision"])
        self._by_device = _medians(seconds, measured, ["device", "runtime"])
        self._chips = {str(device): sorted(set(rows)) for device, rows in measured.groupby("device")["chip"]}
        below = measured[measured["parent_run_id"] == parent_run_id] if parent_run_id else measured.iloc[:0]
        self._done = dict(zip(below["config_hash"], below["run_id"], strict=True))

    def step(self, plan: BenchmarkPlan, device: str) -> Step:
        """Return the step of `plan` on `device`, whichever of the chips recorded under that name it has."""
        settings = plan.settings
        label = f"{plan.label} · {device}"
        hashes = [plan.config_hash(device=device, chip=chip) for chip in self._chips.get(device, ())]
        done = next((self._done[key] for key in hashes if key in self._done), "")
        like = (device, settings.model.name, settings.runtime.name, settings.precision.name)
        for table, keys, basis in (
            (self._by_hash, [(key,) for key in hashes], SAME_SETTINGS),
            (self._by_model, [like], SAME_MODEL),
            (self._by_device, [(device, settings.runtime.name)], SAME_DEVICE),
        ):
            for key in keys:
                if key in table:
                    return Step(label, device, done, table[key], basis)
        return Step(label, device, done)


def read_past(client: MlflowClient, experiment: str, *, parent_run_id: str | None) -> Past:
    """Return facts about the experiment's finished runs; empty for a new experiment."""
    try:
        finished = benchmarks(client, [experiment]).frame
    except (DataError, TrackingError):
        # No experiment yet, or no finished benchmarks. An unreachable server is detected by later steps.
        finished = frame.from_runs([])
    return Past(finished, parent_run_id=parent_run_id)


def schedule(
    plans: Iterable[tuple[str, BenchmarkPlan]],
    past: Past,
    *,
    units: Mapping[str, float] | None = None,
    side_by_side: bool = False,
) -> Schedule:
    """Return the schedule of (device, plan) pairs, with each benchmark once."""
    once = {(device, plan.config_hash(device=device, chip="")): (plan, device) for device, plan in plans}
    steps = tuple(past.step(plan, device) for plan, device in once.values())
    return Schedule(steps, units or {}, side_by_side)


def show(found: Schedule, *, out: Console, as_json: bool = False, in_full: bool = False) -> None:
    """Print the schedule's sentence and, with `in_full`, every step; with `as_json` as JSON on standard output."""
    if as_json and in_full:
        answer = {"seconds": found.seconds, "unknown": found.unknown, "steps": [asdict(step) for step in found.steps]}
        sys.stdout.write(json.dumps(answer, indent=2) + "\n")
        return
    if in_full:
        out.print(_table(found.steps))
    out.print(f"Plan: {found.sentence()}.", markup=False, highlight=False, soft_wrap=True)


def _table(steps: Sequence[Step]) -> Table:
    table = Table("#", "benchmark", "about", "by past runs of", "done already in run")
    for place, step in enumerate(steps, start=1):
        about = "" if step.done else "?" if step.seconds is None else _duration(step.seconds)
        table.add_row(str(place), step.label, about, "" if step.done else step.basis, step.done)
    return table


def _medians(seconds: pd.Series, rows: pd.DataFrame, columns: list[str]) -> dict[tuple[str, ...], float]:
    medians = seconds.groupby([rows[column] for column in columns]).median()
    return {key if isinstance(key, tuple) else (key,): float(value) for key, value in medians.items()}


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
