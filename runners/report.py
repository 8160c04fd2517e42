"""`frm-mlflow report`: query, analyse, and write one self-contained HTML page."""

from __future__ import annotations

import json
import platform
import re
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from mlflow import MlflowClient
from omegaconf import DictConfig

from frm_mlflow import __version__, schema
from frm_mlflow.analysis.options import AnalysisOptions
from frm_mlflow.analysis.registry import AnalysisReport, run_all
from frm_mlflow.config import TrackingConfig, checked
from frm_mlflow.errors import ConfigError
from frm_mlflow.prediction import Prediction, PredictionOptions, Target, predict
from frm_mlflow.progress import console, counting
from frm_mlflow.report.analysis import summary_markdown
from frm_mlflow.report.board import analysed
from frm_mlflow.report.contents import Section, contents_of, prediction_section
from frm_mlflow.report.page import page
from frm_mlflow.report.snapshot import prepare
from frm_mlflow.tracking import server
from frm_mlflow.tracking.artifacts import describe, log_text
from frm_mlflow.tracking.history import experiments_of, read_history
from frm_mlflow.tracking.run_files import flat_params
from frm_mlflow.tracking.runs import open_sweep

ARTIFACT = "report.html"
_PACKAGES = ("mlflow", "numpy", "pandas", "scipy", "plotly")


@dataclass(frozen=True)
class ReportConfig:
    """The settings of `frm-mlflow report` (`conf/report.yaml`)."""

    tracking: TrackingConfig
    options: AnalysisOptions
    output: str = "frm-report.html"
    title: str = "Efficiency report"
    log: bool = True
    experiments: Any = None
    filter: str = ""
    baseline: str = "resnet50"
    predict_for: list[str] = field(default_factory=list)
    refresh: bool = False
    json: bool = False


def report(config: DictConfig) -> None:
    """Write the report described by `config`, and log it to a separate run.

    Raises
    ------
    ConfigError
        If the output folder does not exist.
    DataError
        If there are no benchmarks to report on.
    """
    settings = checked(ReportConfig, config, where="report")
    output = Path(settings.output)
    if not output.parent.is_dir():
        raise ConfigError(f"output: the folder {output.parent} does not exist; make it first")
    out = console()
    client = server.connect(settings.tracking.uri)
    experiments = experiments_of(client, settings.experiments, settings.tracking)
    history = read_history(client, experiments, where=settings.filter, refresh=settings.refresh, out=out)
    rng = np.random.default_rng(settings.options.seed)
    with counting("analysing", out=out) as progress:
        results = run_all(
            history.frame,
            options=settings.options,
            rng=rng,
            progress=lambda name, place, total: progress(place, total, name),
        )
    with out.status("drawing"):
        predictions = [
            prediction_section(_predicted(history.frame, device, settings)) for device in settings.predict_for
        ]
        html = _html(settings, results, history.frame, client, experiments, predictions)
    output.write_text(html, encoding="utf-8")
    run_id = _log(client, settings, results, html) if settings.log else None
    size_mib = len(html.encode()) / 2**20
    used = analysed(results.selection.matrix)
    out.print(f"{output}: {size_mib:.1f} MiB. The analyses use {used}.", highlight=False, soft_wrap=True)
    if settings.json:
        answer = {"output": str(output), "run_id": run_id, "digest": results.digest, "refused": results.refused}
        sys.stdout.write(json.dumps(answer, indent=2, ensure_ascii=False) + "\n")


def _html(
    settings: ReportConfig,
    results: AnalysisReport,
    frame: pd.DataFrame,
    client: MlflowClient,
    experiments: list[str],
    predictions: Sequence[Section],
) -> str:
    contents = contents_of(
        results,
        prepare(frame, digest=results.digest),
        title=settings.title,
        made_at=datetime.now(timezone.utc),
        environment=_environment(client, experiments, settings.filter, results.digest),
        options=asdict(settings.options),
        predictions=predictions,
    )
    return page(contents)


def _predicted(frame: pd.DataFrame, device: str, settings: ReportConfig) -> Prediction:
    options = PredictionOptions(baseline=settings.baseline)
    return predict(frame, Target(device=device), options, np.random.default_rng(settings.options.seed))


def _environment(client: MlflowClient, experiments: list[str], where: str, digest: str) -> dict[str, str]:
    versions = {name: metadata.version(name) for name in _PACKAGES}
    return {
        "frm-mlflow": __version__,
        "Python": platform.python_version(),
        **versions,
        "tracking server": _without_credentials(client.tracking_uri),
        "experiments": ", ".join(experiments),
        "filter": where or "none",
        "data digest": digest,
    }


def _without_credentials(uri: str) -> str:
    """Return a tracking URI without its user and password.

    >>> _without_credentials("https://me:secret@host:5000/a")
    'https://host:5000/a'
    """
    return re.sub(r"//[^/]*@", "//", uri)


def _log(client: MlflowClient, settings: ReportConfig, results: AnalysisReport, html: str) -> str:
    opened = open_sweep(
        client,
        server.experiment_name(client, settings.tracking.experiment),
        name=f"report · {settings.title}",
        kind=schema.KIND_ANALYSIS,
        tags={**settings.tracking.tags, schema.DIGEST.key: results.digest},
        params=flat_params({"filter": settings.filter, "baseline": settings.baseline}),
        parent_run_id=settings.tracking.parent_run_id,
    )
    with opened as run:
        log_text(client, run.run_id, html, ARTIFACT)
        describe(client, run.run_id, summary_markdown(results))
    return run.run_id
