"""Savings from measuring one reference instead of everything, in runs and in measured seconds (paper 5.4)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from frm_mlflow.analysis.fleet import Fleet
from frm_mlflow.analysis.options import AnalysisOptions
from frm_mlflow.analysis.result import Analysis, Result, percent
from frm_mlflow.analysis.selection import Selection
from frm_mlflow.errors import DataError


@dataclass(frozen=True, slots=True, kw_only=True)
class RunsSaved:
    """Benchmark runs of the full grid and of the references alone."""

    full: int
    reference: int

    @property
    def saved(self) -> int:
        """Number of runs avoided."""
        return self.full - self.reference

    @property
    def share(self) -> float:
        """Share of the full grid that is avoided."""
        return self.saved / self.full


def runs_saved(*, models: int, devices: int, references: int = 1) -> RunsSaved:
    """Return the savings from measuring `references` devices instead of all `devices`.

    Examples
    --------
    The paper's 13 models on 106 devices save 99.1 %. The paper reports 99.5 %.

    >>> saved = runs_saved(models=13, devices=106)
    >>> saved.full, saved.saved, round(100 * saved.share, 1)
    (1378, 1365, 99.1)
    """
    if not 0 < references <= devices or models < 1:
        raise DataError(f"{references} of {devices} devices and {models} models is no plan")
    return RunsSaved(full=models * devices, reference=models * references)


def compute(selection: Selection, options: AnalysisOptions, rng: np.random.Generator) -> Result:
    """Return the runs and seconds of the whole fleet, and of each device as the only reference."""
    del options, rng
    fleet = selection.fleet
    devices = device_costs(fleet)
    timed = np.isfinite(fleet.seconds) & fleet.measured
    mean_s = float(fleet.seconds[timed].mean()) if timed.any() else float("nan")
    grids = {
        "device": runs_saved(models=len(fleet.models), devices=len(devices)),
        "configuration": runs_saved(models=len(fleet.models), devices=len(fleet.labels)),
    }
    rows = [
        {"unit": unit, "full_runs": grid.full, "reference_runs": grid.reference, "saved_runs": grid.saved}
        | {"saved_share": grid.share, "mean_seconds_a_run": mean_s, "saved_seconds": grid.saved * mean_s}
        for unit, grid in grids.items()
    ]
    tables = {"summary": pd.DataFrame(rows), "devices": devices}
    return Result(tables=tables, sentences=tuple(_sentences(fleet, grids["device"], devices, int(timed.sum()))))


def device_costs(fleet: Fleet) -> pd.DataFrame:
    """Return, for each device, its number of benchmarks, how many were timed here, and their seconds."""
    timed = np.isfinite(fleet.seconds) & fleet.measured
    cells = pd.DataFrame(
        {
            "device": fleet.devices,
            "tier": fleet.tiers,
            "configurations": 1,
            "runs": fleet.measured.sum(axis=1),
            "timed_runs": timed.sum(axis=1),
            "seconds": np.where(timed, fleet.seconds, 0.0).sum(axis=1),
        }
    )
    table = cells.groupby(["device", "tier"], sort=True, as_index=False).sum()
    return table.assign(seconds=table["seconds"].where(table["timed_runs"] > 0))


def _sentences(fleet: Fleet, grid: RunsSaved, devices: pd.DataFrame, timed: int) -> list[str]:
    found = [
        f"{len(fleet.models)} models on {len(devices)} devices are {grid.full} benchmarks; one reference device needs "
        f"{grid.reference}, which saves {percent(grid.share)}. What that costs in accuracy stands under pareto "
        "and transfer."
    ]
    if timed:
        cheapest = devices.dropna(subset=["seconds"]).sort_values("seconds", kind="stable").iloc[0]
        found.append(
            f"{timed} benchmarks measured here took {devices['seconds'].sum():.0f} s, {cheapest['device']} alone "
            f"{cheapest['seconds']:.0f} s."
        )
    else:
        found.append("No benchmark was measured here, so seconds are not known: imported runs carry the import's time.")
    return found


COST = Analysis(
    name="cost",
    question="How many benchmark runs does one reference device save?",
    paper="5.4",
    compute=compute,
)
