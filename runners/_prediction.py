"""Shared by `predict`, `recommend` and `plan`: read the history, compute the answer, print it and log it as one run."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
from mlflow import MlflowClient
from rich.console import Console

from frm_mlflow import schema
from frm_mlflow.config import TrackingConfig
from frm_mlflow.devices.catalogue import find
from frm_mlflow.prediction import (
    Evaluation,
    Plan,
    Prediction,
    PredictionOptions,
    Recommendation,
    Target,
    predict,
)
from frm_mlflow.progress import console
from frm_mlflow.report.prediction import render, terminal_table
from frm_mlflow.target import completed, measuring_command
from frm_mlflow.tracking import server
from frm_mlflow.tracking.artifacts import log_folder, log_metrics, log_table
from frm_mlflow.tracking.history import experiments_of, listed, read_history
from frm_mlflow.tracking.query import BenchmarkFrame
from frm_mlflow.tracking.run_files import flat_params
from frm_mlflow.tracking.runs import open_sweep

Answer: TypeAlias = Prediction | Recommendation | Plan | Evaluation


@dataclass(frozen=True)
class QuestionConfig:
    """Settings shared by `predict`, `recommend` and `plan`: the target, the history to read and the options."""

    tracking: TrackingConfig
    target: str
    chip: str = ""
    tier: str = ""
    target_runtime: str = ""
    """Runtime on the target; not called `runtime`, which is a Hydra group."""
    target_precision: str = ""
    compute_unit: str = ""
    sources: Any = None
    anchors: Any = None
    experiments: Any = None
    filter: str = ""
    refresh: bool = False
    json: bool = False
    seed: int = 0
    options: PredictionOptions = field(default_factory=PredictionOptions)


Compute = Callable[[pd.DataFrame, np.random.Generator], Answer]


def target_of(settings: QuestionConfig, frame: pd.DataFrame) -> Target:
    """Return the target with facts from the device catalogue, and with what it can run, based on similar devices."""
    facts = find(settings.target)
    given = Target(
        device=settings.target,
        chip=settings.chip,
        tier=settings.tier,
        runtime=settings.target_runtime,
        precision=settings.target_precision,
        compute_unit=settings.compute_unit,
    )
    if facts is not None:
        given = replace(given, device=facts.name, chip=given.chip or facts.chip, tier=given.tier or facts.tier)
    return completed(given, frame)


def anchors_of(value: Any) -> Mapping[str, float] | Sequence[str] | None:
    """Return the anchors: latencies in ms by model, names of models measured there, or None for all of the latter."""
    if isinstance(value, Mapping):
        return {str(model): float(latency_ms) for model, latency_ms in value.items()}
    return None if value is None else listed(value)


def prediction_for(settings: QuestionConfig, frame: pd.DataFrame, rng: np.random.Generator) -> Prediction:
    """Return the prediction for the target in `settings` from the history `frame`."""
    return predict(
        frame,
        target_of(settings, frame),
        settings.options,
        rng,
        anchors=anchors_of(settings.anchors),
        sources=listed(settings.sources) or None,
    )


def answer_with(settings: QuestionConfig, what: str, compute: Compute) -> None:
    """Read the history, compute the answer, log it as one run of the kind `what`, and print it."""
    out = console()
    client = server.connect(settings.tracking.uri)
    experiments = experiments_of(client, settings.experiments, settings.tracking)
    history = read_history(client, experiments, where=settings.filter, refresh=settings.refresh, out=out)
    answer = compute(history.frame, np.random.default_rng(settings.seed))
    run_id = _log(client, settings, what, answer, history, out)
    if settings.json:
        tables = {name: json.loads(table.to_json(orient="records")) for name, table in answer.tables().items()}
        output = {"run_id": run_id, "summary": answer.summary(), "metrics": answer.metrics(), "tables": tables}
        sys.stdout.write(json.dumps(output, indent=2, ensure_ascii=False) + "\n")
        return
    table = terminal_table(answer)
    if table is not None:
        out.print(table)
    # The table has already shown the frontier.
    sentences = answer.summary()[1:] if isinstance(answer, Prediction) else answer.summary()
    for sentence in (*sentences, *_how_to_measure(answer)):
        out.print(sentence, markup=False, highlight=False, soft_wrap=True)
    out.print(f"Logged as run {run_id}.", highlight=False)


def _how_to_measure(answer: Answer) -> tuple[str, ...]:
    """Return the command that verifies a recommendation or carries out a plan, and its requirements."""
    if isinstance(answer, Plan):
        target, models, purpose = answer.target, answer.models, "Measure them"
    elif isinstance(answer, Recommendation):
        target, models, purpose = answer.prediction.target, answer.to_check, "Check it on the device"
    else:
        return ()
    if not models:
        return ()
    measuring = measuring_command(target, models)
    lines = (f"{purpose}: {measuring.command}" if measuring.command else "", measuring.remark)
    return tuple(line for line in lines if line)


def _log(
    client: MlflowClient, settings: QuestionConfig, what: str, answer: Answer, history: BenchmarkFrame, out: Console
) -> str:
    opened = open_sweep(
        client,
        server.experiment_name(client, settings.tracking.experiment),
        name=f"{what} · {settings.target}",
        description="\n".join(f"- {sentence}" for sentence in answer.summary()),
        kind=schema.KIND_PREDICTION,
        tags={**settings.tracking.tags, schema.DIGEST.key: history.digest, schema.TARGET.key: settings.target},
        params=flat_params({"target": settings.target, "filter": settings.filter, "seed": settings.seed}),
        parent_run_id=settings.tracking.parent_run_id,
    )
    with opened as run, TemporaryDirectory() as scratch:
        with out.status("drawing"):
            render(answer, Path(scratch))
        log_folder(client, run.run_id, Path(scratch))
        log_metrics(client, run.run_id, answer.metrics())
        for name, table in answer.tables().items():
            log_table(client, run.run_id, table, name)
    return run.run_id
