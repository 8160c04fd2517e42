"""Models stored by MLflow: found by URI or run, downloaded; external models that represent catalogue models."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import mlflow
from mlflow import MlflowClient
from mlflow.entities import LoggedModelStatus, Run
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.utils.models import _parse_model_uri  # MLflow's own parser of models:/ URIs
from mlflow.utils.mlflow_tags import MLFLOW_MODEL_IS_EXTERNAL

from frm_mlflow import schema
from frm_mlflow.errors import ConfigError, TrackingError
from frm_mlflow.tracking.entry import short
from frm_mlflow.tracking.rest import refusal_named
from frm_mlflow.tracking.server import find_run

REGISTRY_REMEDY = "`MlflowClient().search_registered_models()` lists what the account may read"


@dataclass(frozen=True)
class StoredModel:
    """A model on the server: its URI, its LoggedModel, the run that created it and its registered version."""

    uri: str
    name: str
    model_id: str | None = None
    run_id: str | None = None
    version: str | None = None

    def download(self, directory: Path, *, client: MlflowClient) -> Path:
        """Return the model's files, downloaded below `directory`.

        Raises
        ------
        TrackingError
            If there are none, or the server does not return them.
        """
        before = mlflow.get_tracking_uri()
        mlflow.set_tracking_uri(client.tracking_uri)  # models:/ URIs use only this setting to find their server
        try:
            return Path(mlflow.artifacts.download_artifacts(artifact_uri=self.uri, dst_path=str(directory)))
        except (MlflowException, OSError) as error:
            raise TrackingError(f"the model '{self.uri}' cannot be downloaded: {error}") from error
        finally:
            mlflow.set_tracking_uri(before)


def find_model(client: MlflowClient, uri: str) -> StoredModel:
    """Return the model behind `models:/name/3`, `models:/name@alias`, `models:/m-...` or `runs:/ID/path`.

    Raises
    ------
    ConfigError
        If the URI has another form.
    TrackingError
        If there is no such model, or the account may not read it.
    """
    permission = "READ permission on the registered model and on the experiment that created it"
    subject = f"the model '{uri}' at {client.tracking_uri}"
    with refusal_named(subject, permission=permission, remedy=f"; {REGISTRY_REMEDY}"):
        if uri.startswith("models:/"):
            return _registered(client, uri)
        if uri.startswith("runs:/"):
            return _logged_by_run(client, uri)
    raise ConfigError(f"'{uri}' is not a model URI: use models:/NAME/VERSION, models:/NAME@ALIAS or runs:/RUN_ID/PATH")


def model_of_run(client: MlflowClient, run_id: str) -> StoredModel:
    """Return the single model that a run has logged.

    Raises
    ------
    ConfigError
        If it logged none, or several; the message lists them.
    TrackingError
        If there is no such run.
    """
    uris = [f"models:/{model_id}" for model_id in _outputs(find_run(client, run_id))]
    if not uris:
        raise ConfigError(f"run '{run_id}' has not logged a model: set model_uri=, or log a model to the run first")
    if len(uris) > 1:
        raise ConfigError(f"run '{run_id}' has logged {len(uris)} models; choose one: model_uri={' or '.join(uris)}")
    return find_model(client, uris[0])


def mark_version(client: MlflowClient, model: StoredModel, *, verdict: str | None, alias: str | None) -> None:
    """Tag a registered version with a gate's verdict and point `alias` to it; each is skipped if not given.

    Raises
    ------
    ConfigError
        If the model is not a registered version.
    TrackingError
        If the account may not write to the registry.
    """
    if model.version is None:
        raise ConfigError(f"'{model.uri}' is not a registered version: register it, or set tag=false and no alias")
    with refusal_named(
        f"the verdict cannot be set on version {model.version} of '{model.name}'",
        permission="EDIT permission on the registered model",
        remedy=" (or set tag=false and no alias)",
    ):
        if verdict:
            client.set_model_version_tag(model.name, model.version, schema.GATE.key, short(verdict))
        if alias:
            client.set_registered_model_alias(model.name, alias, model.version)


def tracked_metrics(
    client: MlflowClient, model: StoredModel, configuration: Mapping[str, str]
) -> dict[str, float] | None:
    """Return the metrics of the model's newest finished benchmark with these tags, or None if there is none."""
    if model.model_id is None or model.run_id is None:
        return None
    tags = {schema.MODEL_ID.key: model.model_id, schema.KIND.key: schema.KIND_BENCHMARK, **configuration}
    filters = " and ".join(f"tags.`{key}` = '{value}'" for key, value in tags.items())
    experiment_id = client.get_run(model.run_id).info.experiment_id
    runs = client.search_runs([experiment_id], filters, max_results=1, order_by=["attributes.end_time DESC"])
    return dict(runs[0].data.metrics) if runs else None


def catalogue_model(client: MlflowClient, experiment_id: str, name: str, *, tags: dict[str, str]) -> str:
    """Return the id of the experiment's external model `name`, which is created if it does not exist.

    An external model has no files: it lets the Models page compare an architecture across devices.

    Raises
    ------
    TrackingError
        If the server refuses.
    """
    with refusal_named(f"the external model '{name}' at {client.tracking_uri}"):
        condition = f"name = '{name}' AND tags.`{schema.MODEL.key}` = '{name}'"
        existing = client.search_logged_models([experiment_id], filter_string=condition, max_results=10)
        if existing:
            return str(min(existing, key=lambda model: model.creation_timestamp).model_id)
        tags = {MLFLOW_MODEL_IS_EXTERNAL: "true", schema.MODEL.key: name} | tags
        model = client.create_logged_model(experiment_id, name=name, tags=tags, model_type="architecture")
        client.finalize_logged_model(model.model_id, LoggedModelStatus.READY)
        return str(model.model_id)


def _registered(client: MlflowClient, uri: str) -> StoredModel:
    parsed = _parse_model_uri(uri)
    if parsed.model_id is not None:
        model = client.get_logged_model(parsed.model_id)
        return StoredModel(uri, model.name, model.model_id, model.source_run_id)
    version = _version(client, str(parsed.name), version=parsed.version, alias=parsed.alias)
    pinned = f"models:/{version.name}/{version.version}"
    return StoredModel(pinned, version.name, _model_id_of(version), version.run_id or None, str(version.version))


def _model_id_of(version: ModelVersion) -> str | None:
    """Return the LoggedModel that a version was registered from; a server records it only in the version's source."""
    if version.model_id:
        return str(version.model_id)
    source = str(version.source or "")
    return _parse_model_uri(source).model_id if source.startswith("models:/") else None


def _logged_by_run(client: MlflowClient, uri: str) -> StoredModel:
    run_id, _, path = uri.removeprefix("runs:/").partition("/")
    name = path.rpartition("/")[2]
    outputs = _outputs(client.get_run(run_id))
    logged = [model_id for model_id in outputs if client.get_logged_model(model_id).name == name]
    return StoredModel(uri, name, logged[-1] if logged else None, run_id)


def _outputs(run: Run) -> list[str]:
    """Return the ids of the LoggedModels that a run created."""
    return [str(output.model_id) for output in (run.outputs.model_outputs if run.outputs else None) or []]


def _version(client: MlflowClient, name: str, *, version: str | None, alias: str | None) -> ModelVersion:
    if alias is not None:
        return client.get_model_version_by_alias(name, alias)
    if version is not None:
        return client.get_model_version(name, version)
    versions = client.search_model_versions(f"name = '{name}'")
    if not versions:
        raise TrackingError(f"no registered model is named '{name}': {REGISTRY_REMEDY}")
    return max(versions, key=lambda version: int(version.version))
