"""Connection to the tracking server: checks that it responds and that the experiment exists."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, MutableMapping
from pathlib import Path
from typing import TypeAlias
from urllib.parse import urlsplit

import mlflow
from filelock import FileLock
from mlflow import MlflowClient
from mlflow.entities import Experiment, LifecycleStage, Run
from mlflow.exceptions import MlflowException
from mlflow.store.db.db_types import DATABASE_ENGINES
from mlflow.utils.mlflow_tags import (
    MLFLOW_EXPERIMENT_PRIMARY_METRIC_GREATER_IS_BETTER,
    MLFLOW_EXPERIMENT_PRIMARY_METRIC_NAME,
)
from mlflow.utils.mlflow_tags import MLFLOW_RUN_NOTE as MLFLOW_NOTE
from sqlalchemy import create_engine, make_url
from sqlalchemy.exc import SQLAlchemyError

from frm_mlflow import schema
from frm_mlflow.errors import TrackingError
from frm_mlflow.folders import cache_folder
from frm_mlflow.records import content_hash
from frm_mlflow.tracking import answers, rest
from frm_mlflow.tracking.views import as_tags

Client: TypeAlias = MlflowClient
"""A connection to a tracking server."""

QUIET_VARIABLE = "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"
"""MLflow's own setting: without it, each run that ends costs one more request and two lines on stdout."""
RETRIES_VARIABLE = "MLFLOW_HTTP_REQUEST_MAX_RETRIES"
RETRIES = "3"
"""About 10 seconds per request; MLflow's default of 7 takes about 4 minutes."""
DEFAULT_EXPERIMENT = "frm"
NAME_VARIABLE = "MLFLOW_EXPERIMENT_NAME"
ID_VARIABLE = "MLFLOW_EXPERIMENT_ID"
ALREADY_EXISTS = "RESOURCE_ALREADY_EXISTS"
EXPERIMENT_TAGS = {
    MLFLOW_EXPERIMENT_PRIMARY_METRIC_NAME: schema.FRM.key,
    MLFLOW_EXPERIMENT_PRIMARY_METRIC_GREATER_IS_BETTER: "False",
    MLFLOW_NOTE: (
        "Benchmarks by frm-mlflow, one run per model and configuration. `frm` is the cost relative to the baseline: "
        "lower is better. *Views* at the top right of the runs table are comparisons. Sweeps and analyses are runs too."
    ),
}
"""Tags of an experiment that frm-mlflow creates; an existing experiment is left unchanged."""


def connect(uri: str | None = None, *, timeout_s: float = 5.0) -> MlflowClient:
    """Return a client of the tracking server at `uri` after checking that it responds.

    Parameters
    ----------
    uri
        Tracking URI; None uses MLflow's own setting (`MLFLOW_TRACKING_URI`, else
        `sqlite:///mlflow.db`). A database is created on first use, even if two processes do so at once.
    timeout_s
        How long a server may take to respond. MLflow itself would retry for minutes.

    Raises
    ------
    TrackingError
        If the server does not respond or rejects the credentials; the message names the URI and the remedy.
    """
    os.environ.setdefault(QUIET_VARIABLE, "true")
    uri = uri or mlflow.get_tracking_uri()
    try:
        is_http = rest.is_http(uri)
    except ValueError as error:
        raise TrackingError(f"{uri} is not the address of a tracking server: {error}. Set tracking.uri.") from error
    answers.guard()
    client = MlflowClient(tracking_uri=uri) if is_http else _opened_store(uri)
    check_answer(client, timeout_s=timeout_s)
    return client


def database_to_make(uri: str | None = None) -> Path | None:
    """Return the file of the SQLite database that the first run would create, or None if there is none to create."""
    uri = uri or mlflow.get_tracking_uri()
    if urlsplit(uri).scheme.split("+")[0] != "sqlite":
        return None
    database = make_url(uri).database
    return Path(database) if database and not Path(database).exists() else None


def limit_retries(environ: MutableMapping[str, str] = os.environ) -> None:
    """Make MLflow's client give up a request after seconds, unless the user has set the number of retries.

    For programs whose results are kept on disk: a failing server must not delay the measurements.
    """
    environ.setdefault(RETRIES_VARIABLE, RETRIES)


def check_answer(client: MlflowClient, *, timeout_s: float = 5.0) -> None:
    """Return if the client's tracking server responds to a request with the caller's credentials.

    Raises
    ------
    TrackingError
        If it does not respond within `timeout_s` seconds.
    """
    uri = client.tracking_uri
    if not rest.is_http(uri):
        return
    try:
        rest.call(uri, "POST", "experiments/search", body={"max_results": 1}, timeout_s=timeout_s, retries=0)
    except TrackingError as error:
        raise TrackingError(
            f"{error}. Start it (`mlflow server`), or set tracking.uri or MLFLOW_TRACKING_URI to one that runs."
        ) from error


def experiment_name(client: MlflowClient, given: str | None, *, environ: Mapping[str, str] = os.environ) -> str:
    """Return the name of the experiment to use: the given one, else the one in MLflow's variables, else `frm`.

    Raises
    ------
    TrackingError
        If the server has no experiment with the id in MLFLOW_EXPERIMENT_ID.
    """
    name = given or environ.get(NAME_VARIABLE)
    if name:
        return name
    if not (experiment_id := environ.get(ID_VARIABLE)):
        return DEFAULT_EXPERIMENT
    try:
        return str(client.get_experiment(experiment_id).name)
    except MlflowException as error:
        raise TrackingError(
            f"{ID_VARIABLE}={experiment_id}: {client.tracking_uri} has no such experiment ({rest.first_line(error)}). "
            f"Unset the variable or set tracking.experiment=NAME."
        ) from error


def find_run(client: MlflowClient, run_id: str) -> Run:
    """Return a run.

    Raises
    ------
    TrackingError
        If the server does not have it or does not show it.
    """
    with rest.refusal_named(f"run '{run_id}' at {client.tracking_uri}", permission="READ permission on its experiment"):
        return client.get_run(run_id)


def ensure_experiment(client: MlflowClient, name: str) -> str:
    """Return the id of the experiment `name`, which is created if it does not exist.

    Two processes may call this at once: the second one uses the first one's experiment.

    Raises
    ------
    TrackingError
        If an experiment of that name was deleted, or the server refuses.
    """
    with rest.refusal_named(f"experiment '{name}' at {client.tracking_uri}"):
        experiment = client.get_experiment_by_name(name) or _created(client, name)
        _with_views(client, experiment)
    if experiment.lifecycle_stage != LifecycleStage.ACTIVE:
        raise TrackingError(
            f"experiment '{name}' was deleted: restore it "
            f"with `mlflow experiments restore -x {experiment.experiment_id}` "
            "or choose another name with tracking.experiment=NAME"
        )
    return str(experiment.experiment_id)


def _with_views(client: MlflowClient, experiment: Experiment) -> None:
    """Add the saved views to an active experiment that another program has created."""
    if experiment.lifecycle_stage == LifecycleStage.ACTIVE:
        for key, view in as_tags(now_ms=round(time.time() * 1000)).items():
            if key not in experiment.tags:
                client.set_experiment_tag(experiment.experiment_id, key, view)


def _created(client: MlflowClient, name: str) -> Experiment:
    tags = EXPERIMENT_TAGS | as_tags(now_ms=round(time.time() * 1000))
    try:
        return client.get_experiment(client.create_experiment(name, tags=tags))
    except MlflowException as error:
        winner = client.get_experiment_by_name(name) if error.error_code == ALREADY_EXISTS else None
        if winner is None:
            raise
        return winner


def _opened_store(uri: str) -> MlflowClient:
    """Open a database under a lock: MLflow creates its tables on first use without one."""
    lock = cache_folder() / "locks" / f"{content_hash(uri)}.lock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(lock):
            _connect_once(uri)
            return MlflowClient(tracking_uri=uri)
    except (MlflowException, SQLAlchemyError, OSError, ImportError, ValueError) as error:
        raise TrackingError(
            f"the tracking store {uri} cannot be opened: {rest.first_line(error)}. "
            "Set tracking.uri or MLFLOW_TRACKING_URI to a server or to a database that can be."
        ) from error


def _connect_once(uri: str) -> None:
    """Fail immediately on a database that cannot be reached; MLflow would retry for minutes."""
    if urlsplit(uri).scheme.split("+")[0] not in DATABASE_ENGINES:
        return
    url = make_url(uri)
    in_missing_folder = url.get_backend_name() == "sqlite" and url.database and not Path(url.database).parent.exists()
    if in_missing_folder:  # MLflow creates it
        return
    engine = create_engine(url)
    try:
        engine.connect().close()
    finally:
        engine.dispose()
