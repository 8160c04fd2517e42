"""`frm-mlflow attach`: benchmark a logged model against a baseline and log the result to its run or a child run."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

from omegaconf import DictConfig

from frm_mlflow import schema
from frm_mlflow.config import AttachConfig, checked
from frm_mlflow.errors import ConfigError, TrackingError
from frm_mlflow.progress import console
from frm_mlflow.sweep.beside import FrmResult, benchmark_beside, check_device, result_of
from frm_mlflow.sweep.compose import zoo_model
from frm_mlflow.tracking import attach as tracking_attach
from frm_mlflow.tracking import models, server
from frm_mlflow.tracking.flavors import measurable


def attach(config: DictConfig) -> None:
    """Benchmark the logged model in `config` and log the result to its run, or to a child run.

    Raises
    ------
    ConfigError
        If the settings or the model cannot be used.
    TrackingError
        If the server does not respond or rejects a request; nothing is measured if it does not respond.
    FrmError
        If the benchmark fails.
    """
    settings = checked(AttachConfig, config, where="attach")
    client = server.connect(settings.tracking.uri)
    if (settings.model_uri is None) == (settings.run_id is None):
        raise ConfigError("give either model_uri=models:/NAME/VERSION or run_id=RUN_ID")
    stored = (
        models.find_model(client, settings.model_uri)
        if settings.model_uri is not None
        else models.model_of_run(client, str(settings.run_id))
    )
    if stored.run_id is None:
        raise ConfigError(f"'{stored.uri}' was made by no run: there is nothing to attach to; use `frm-mlflow gate`")
    check_device(settings)
    name = settings.name or stored.name
    with tempfile.TemporaryDirectory(prefix="frm-") as scratch:
        path = stored.download(Path(scratch), client=client)
        subject = measurable(path, Path(scratch), name=name, batch_size=settings.batch_size, trust=settings.trust)
        done = benchmark_beside(subject, zoo_model(settings.baseline), settings, scratch=Path(scratch))
    run_id: str | None = stored.run_id
    if settings.into == "run":
        tracking_attach.attach(
            client,
            stored.run_id,
            done.record,
            prefix=settings.prefix,
            model_id=stored.model_id,
            files=done.files,
        )
    else:
        run_id = tracking_attach.log_below(
            client, stored.run_id, done.record, model_id=stored.model_id, files=done.files
        )
    _tell(result_of(done.record, run_id, stored.model_id), as_json=settings.json)
    if run_id is None:
        raise TrackingError(
            "the benchmark was not logged: the result is kept on disk and `frm-mlflow resend` logs it, once the server "
            "answers and the account has EDIT permission on the experiment"
        )


def _tell(result: FrmResult, *, as_json: bool) -> None:
    if as_json:
        answer = {"run_id": result.run_id, "model_id": result.model_id, "frm": result.frm}
        sys.stdout.write(json.dumps(answer | {"metrics": dict(result.metrics)}, indent=2) + "\n")
        return
    where = f"run {result.run_id}" if result.run_id else "disk (`frm-mlflow resend` logs it)"
    figure = f"FRM {result.frm:.4g}" if result.frm is not None else "no FRM (a component is missing)"
    latency = result.metrics[schema.LATENCY_P50.key]
    console().print(f"{result.record.name}: {latency:.3g} ms, {figure}: {where}", markup=False, highlight=False)
