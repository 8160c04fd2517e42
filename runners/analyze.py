"""`frm-mlflow analyze`: query, compute, and log one analysis run with all results."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from mlflow import MlflowClient
from omegaconf import DictConfig
from rich.console import Console
from rich.markdown import Markdown

from frm_mlflow import schema
from frm_mlflow.analysis.options import AnalysisOptions
from frm_mlflow.analysis.registry import AnalysisReport, chosen_analyses, run_all
from frm_mlflow.config import TrackingConfig, checked
from frm_mlflow.errors import DataError
from frm_mlflow.progress import console, counting
from frm_mlflow.report.analysis import render, summary_markdown
from frm_mlflow.tracking import server
from frm_mlflow.tracking.artifacts import describe, log_folder, log_table
from frm_mlflow.tracking.history import experiments_of, listed, read_history
from frm_mlflow.tracking.run_files import flat_params
from frm_mlflow.tracking.runs import open_sweep
from frm_mlflow.tracking.views import print_links
from frm_mlflow.tracking.write_back import write_back


@dataclass(frozen=True)
class AnalyzeConfig:
    """The settings of `frm-mlflow analyze` (`conf/analyze.yaml`)."""

    tracking: TrackingConfig
    options: AnalysisOptions
    analysis: Any = "all"
    """One name, several separated by commas, or a list."""
    experiments: Any = None
    filter: str = ""
    baseline: str = "resnet50"
    write_back: bool = False
    refresh: bool = False
    json: bool = False

    @property
    def names(self) -> list[str]:
        """Return the names of the analyses."""
        return listed(self.analysis)


def analyze(config: DictConfig) -> None:
    """Run the analyses in `config` and log them to one run.

    Raises
    ------
    ConfigError
        If an analysis or option is unknown.
    DataError
        If there is nothing to analyse, or none of the analyses could be computed.
    """
    settings = checked(AnalyzeConfig, config, where="analyze")
    names = settings.names
    chosen_analyses(names)
    out = console()
    client = server.connect(settings.tracking.uri)
    experiments = experiments_of(client, settings.experiments, settings.tracking)
    history = read_history(client, experiments, where=settings.filter, refresh=settings.refresh, out=out)
    with counting("analysing", out=out) as progress:
        report = run_all(
            history.frame,
            names,
            options=settings.options,
            rng=np.random.default_rng(settings.options.seed),
            progress=lambda name, place, total: progress(place, total, name),
        )
    run_id = _log(client, settings, report, history.left_out, out)
    if settings.write_back and "frm" in report.results:
        out.print(f"FRM and ranks written back to {_write_back(client, report)} runs.")
    if settings.json:
        answer = {"run_id": run_id, "digest": report.digest, "refused": report.refused}
        answer |= {"results": {name: list(result.sentences) for name, result in report.results.items()}}
        sys.stdout.write(json.dumps(answer, indent=2, ensure_ascii=False) + "\n")
    if not report.results:
        raise DataError("no analysis could be answered: " + "; ".join(f"{k}: {v}" for k, v in report.refused.items()))


def _log(
    client: MlflowClient, settings: AnalyzeConfig, report: AnalysisReport, unread: Mapping[str, int], out: Console
) -> str:
    summary = summary_markdown(report)
    unread_lines = [f"- {count} runs not read: {reason}" for reason, count in unread.items() if count]
    opened = open_sweep(
        client,
        server.experiment_name(client, settings.tracking.experiment),
        name=f"analysis · {', '.join(settings.names)}",
        kind=schema.KIND_ANALYSIS,
        tags={**settings.tracking.tags, schema.DIGEST.key: report.digest},
        params=flat_params({"analysis": settings.names, "filter": settings.filter, "baseline": settings.baseline}),
        parent_run_id=settings.tracking.parent_run_id,
    )
    with opened as run, TemporaryDirectory() as scratch:
        with out.status("drawing"):
            rendered = render(report, Path(scratch))
        log_folder(client, run.run_id, Path(scratch))
        for name, result in report.results.items():
            for table, rows in result.tables.items():
                log_table(client, run.run_id, rows, f"{name}/{table}")
        describe(client, run.run_id, "\n".join([summary, *unread_lines]))
    if not settings.json:
        out.print(Markdown(summary))
    for note in (*rendered.notes, *(f"{name} was not answered: {why}" for name, why in report.refused.items())):
        out.print(note, markup=False, highlight=False, soft_wrap=True)
    out.print(f"Logged as run {run.run_id} with {len(rendered.paths)} files.", highlight=False)
    print_links(client, run.experiment, out)
    return run.run_id


def _write_back(client: MlflowClient, report: AnalysisReport) -> int:
    board = report.results["frm"].tables["leaderboard"].set_index("run_id")
    return write_back(
        client, board[["frm", "rank"]].rename(columns={"frm": schema.FRM.key, "rank": schema.RANK_FRM.key})
    )
