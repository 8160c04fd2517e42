"""Registers the catalogue's networks as MLflow external models, so that its Models page compares them by device."""

from __future__ import annotations

from frm_mlflow import redact, schema
from frm_mlflow.config import ModelConfig
from frm_mlflow.errors import TrackingError
from frm_mlflow.records import BenchmarkRecord
from frm_mlflow.tracking import models
from frm_mlflow.tracking.attach import link
from frm_mlflow.tracking.runs import Outcome, Sweep
from frm_mlflow.zoo.catalogue import facts_for

logger = redact.logger(__name__)


def link_to_catalogue(sweep: Sweep, outcome: Outcome, model: ModelConfig, record: BenchmarkRecord) -> None:
    """Link a logged benchmark of a catalogue network to the experiment's external model with that name.

    A benchmark that is spooled on disk is not linked. If anything fails here, the run is still
    complete: a warning is logged, and the benchmark counts as finished.
    """
    facts = facts_for(model)
    if outcome.kept is not None or outcome.run_id is None or facts is None:
        return
    tags = {schema.FAMILY.key: facts.family, "architecture": facts.architecture, "source": facts.source}
    try:
        model_id = models.catalogue_model(sweep.client, sweep.experiment_id, facts.name, tags=tags)
        link(sweep.client, outcome.run_id, model_id, record)
    except TrackingError as error:
        logger.warning("the benchmark is logged, but not linked to a model: %s", error)
    except Exception:  # the result is already on the server, so nothing may turn it into a failure
        logger.warning("the benchmark is logged, but not linked to a model", exc_info=True)
