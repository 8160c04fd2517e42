"""Savings from measuring one reference instead of everything, in runs and in measured seconds (paper 5.4)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from frm_mlflow.analysis.matrix import ResultMatrix
from frm_mlflow.analysis.options import AnalysisOptions
from frm_mlflow.analysis.result import Analysis, Result, count, percent
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
        raise DataError(f"references must be 1 to {devices}, and models at least 1; got {references} and {models}")
    return RunsSaved(full=models * devices, reference=models * references)


def compute(selection: Selection, options: AnalysisOptions, rng: np.random.Generator) -> Result:
    """Return the runs and seconds of the full grid, and of each device as the only reference."""
    del options, rng
    matrix = selection.matrix
    devices = device_costs(matrix)
    timed = np.isfinite(matrix.seconds) & matrix.measured
    mean_s = float(matrix.seconds[timed].mean()) if timed.any() else float("nan")
    grids = {
        "device": runs_saved(models=len(matrix.models), devices=len(devices)),
        "configuration": runs_saved(models=len(matrix.models), devices=len(matrix.labels)),
    }
    rows = [
        {"unit": unit, "full_runs": grid.full, "reference_runs": grid.reference, "saved_runs": grid.saved}
        | {"saved_share": grid.share, "mean_seconds_a_run": mean_s, "saved_seconds": grid.saved * mean_s}
        for unit, grid in grids.items()
    ]
    tables = {"summary": pd.DataFrame(rows), "devices": devices}
    return Result(tables=tables, sentences=tuple(_sentences(matrix, grids["device"], devices, int(timed.sum()))))


def device_costs(matrix: ResultMatrix) -> pd.DataFrame:
    """Return, for each device, its number of benchmarks, how many were timed here, and their seconds."""
    timed = np.isfinite(matrix.seconds) & matrix.measured
    cells = pd.DataFrame(
        {
            "device": matrix.devices,
            "tier": matrix.tiers,
            "configurations": 1,
            "runs": matrix.measured.sum(axis=1),
            "timed_runs": timed.sum(axis=1),
            "seconds": np.where(timed, matrix.seconds, 0.0).sum(axis=1),
        }
    )
    table = cells.groupby(["device", "tier"], sort=True, as_index=False).sum()
    return table.assign(seconds=table["seconds"].where(table["timed_runs"] > 0))


def _sentences(matrix: ResultMatrix, grid: RunsSaved, devices: pd.DataFrame, timed: int) -> list[str]:
    sentences = [
        f"{count(len(matrix.models), 'model')} on {count(len(devices), 'device')} make {grid.full} benchmarks. One "
        f"reference device needs {grid.reference}, which saves {percent(grid.share)}. The analyses pareto and transfer "
        "show what this costs in accuracy."
    ]
    if timed:
        cheapest = devices.dropna(subset=["seconds"]).sort_values("seconds", kind="stable").iloc[0]
        sentences.append(
            f"The {timed} benchmarks measured here took {devices['seconds'].sum():.0f} s; {cheapest['device']} took "
            f"{cheapest['seconds']:.0f} s, the least of all devices."
        )
    else:
        sentences.append(
            "No benchmark was measured here, so measuring times are not available: an imported run only has the time "
            "of its import."
        )
    return sentences


COST = Analysis(
    name="cost",
    question="How many benchmark runs does one reference device save?",
    paper="5.4",
    compute=compute,
)
