"""Benchmarks that cannot break a training run: a failed one is reported and tagged, never raised."""

from __future__ import annotations

from typing import Any

import mlflow
from mlflow import MlflowClient

from frm_mlflow import redact, schema
from frm_mlflow.errors import TrackingError
from frm_mlflow.integrations.log_frm import log_frm, say
from frm_mlflow.integrations.settings import FrmSettings
from frm_mlflow.sweep.beside import FrmResult
from frm_mlflow.tracking.entry import short


def log_guarded(
    model: Any,
    example: Any,
    settings: FrmSettings,
    *,
    run_id: str,
    step: int | None = None,
    model_id: str | None = None,
    tracking_uri: str | None = None,
) -> FrmResult | None:
    """Benchmark a model and log it to `run_id`; on failure report why, tag the run with the reason and return None."""
    given = settings.at(tracking_uri)
    try:
        return log_frm(model, example, **vars(given), step=step, run_id=run_id, model_id=model_id)
    except Exception as error:  # whatever fails in a benchmark, the training continues
        lacking = "logged" if isinstance(error, TrackingError) else "measured"
        reason = short(f"FRM was not {lacking}: {error}")
        untagged = _tag(run_id, f"{given.prefix}{schema.REASON.key}", reason, tracking_uri)
        say(f"{reason}{untagged}")
        return None


def _tag(run_id: str, key: str, value: str, tracking_uri: str | None) -> str:
    """Tag a run and return "", or the reason if it could not be tagged."""
    try:
        MlflowClient(tracking_uri=tracking_uri or mlflow.get_tracking_uri()).set_tag(run_id, key, value)
    except Exception as error:  # the server may have caused the failure in the first place
        return f" (the run could not be tagged: {redact.text(str(error))})"
    return ""
