"""All analyses by name, and the function that runs them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np
import pandas as pd

from frm_mlflow.analysis.cost import COST
from frm_mlflow.analysis.disagreement import DISAGREEMENT
from frm_mlflow.analysis.failures import FAILURES
from frm_mlflow.analysis.frontiers import PARETO
from frm_mlflow.analysis.interaction import INTERACTION
from frm_mlflow.analysis.options import AnalysisOptions
from frm_mlflow.analysis.paper import PAPER_ANALYSIS
from frm_mlflow.analysis.ranking import FRM_ANALYSIS
from frm_mlflow.analysis.result import Analysis, Result
from frm_mlflow.analysis.rows import KEY_COLUMNS
from frm_mlflow.analysis.selection import Selection, selection_of
from frm_mlflow.analysis.sensitivity import SENSITIVITY
from frm_mlflow.analysis.stability import STABILITY
from frm_mlflow.analysis.transfer import TRANSFER
from frm_mlflow.errors import ConfigError, DataError
from frm_mlflow.frame import METRIC_COLUMNS
from frm_mlflow.records import content_hash
from frm_mlflow.schema import MODEL

ANALYSES: MappingProxyType[str, Analysis] = MappingProxyType(
    {
        analysis.name: analysis
        for analysis in (
            FRM_ANALYSIS,
            DISAGREEMENT,
            TRANSFER,
            STABILITY,
            INTERACTION,
            PARETO,
            FAILURES,
            SENSITIVITY,
            COST,
            PAPER_ANALYSIS,
        )
    }
)
"""The nine analyses in the paper's order, and the tables of the paper."""

Progress = Callable[[str, int, int], None]
"""Called with an analysis's name, its index (from 0) and the number of analyses."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AnalysisReport:
    """Output of `run_all`: results by name, refused analyses with their reason, and a description of the rows."""

    options: AnalysisOptions
    selection: Selection
    results: dict[str, Result]
    refused: dict[str, str]

    @property
    def run_ids(self) -> list[str]:
        """Ids of the MLflow runs that were used, sorted."""
        return sorted(self.selection.rows["run_id"])

    @property
    def digest(self) -> str:
        """Hash of the runs used and their metrics: equal digests mean that the same rows were analysed."""
        columns = ["run_id", *KEY_COLUMNS, MODEL.column, *METRIC_COLUMNS]
        rows = self.selection.rows[columns].sort_values(["run_id", *KEY_COLUMNS, MODEL.column], kind="stable")
        return content_hash(rows.to_csv(index=False))


def run_all(
    frame: pd.DataFrame,
    names: Sequence[str] = ("all",),
    *,
    options: AnalysisOptions,
    rng: np.random.Generator,
    progress: Progress | None = None,
) -> AnalysisReport:
    """Run the named analyses (`all` for every one) on a tidy frame.

    An analysis that the data does not support is refused with its reason, and the others continue. Each
    has a separate random stream, so its numbers do not depend on which others are run.

    Raises
    ------
    ConfigError
        If a name is unknown; the message lists the valid ones.
    DataError
        If no row can be analysed at all.
    """
    analyses = chosen_analyses(names)
    selection = selection_of(frame, options)
    streams = dict(zip(ANALYSES, rng.spawn(len(ANALYSES)), strict=True))
    results: dict[str, Result] = {}
    refused: dict[str, str] = {}
    for place, analysis in enumerate(analyses):
        if progress:
            progress(analysis.name, place, len(analyses))
        try:
            result = analysis.compute(selection, options, streams[analysis.name])
        except DataError as error:
            refused[analysis.name] = str(error)
            continue
        notes = (selection.stand_in,) if analysis.compares_sides and selection.stand_in else ()
        results[analysis.name] = replace(result, sentences=(*notes, *result.sentences))
    return AnalysisReport(options=options, selection=selection, results=results, refused=refused)


def chosen_analyses(names: Sequence[str]) -> list[Analysis]:
    """Return the analyses with these names, without repeats, in the paper's order."""
    unknown = sorted(set(names) - {"all", *ANALYSES})
    if unknown or not names:
        raise ConfigError(f"unknown analysis {', '.join(unknown) or '(none)'}; choose from all, {', '.join(ANALYSES)}")
    return [analysis for name, analysis in ANALYSES.items() if "all" in names or name in names]
