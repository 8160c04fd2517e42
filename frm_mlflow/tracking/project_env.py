"""Support for `mlflow run .`: it reuses an existing environment, and benchmarks go to the experiment of its run.

By default `mlflow run` creates a virtual environment with pyenv and crashes if pyenv is
missing. It first looks for that environment under a name derived from `python_env.yaml`, so a link
with this name to the environment that `make setup` has created is enough.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from mlflow import MlflowClient

from frm_mlflow.errors import ConfigError
from frm_mlflow.tracking.runs import RUN_ID_VARIABLE


def project_experiment(client: MlflowClient, *, environ: Mapping[str, str] = os.environ) -> str | None:
    """Return the name of the experiment that `mlflow run` runs this process in, or None outside `mlflow run`."""
    run_id = environ.get(RUN_ID_VARIABLE)
    if not run_id:
        return None
    return str(client.get_experiment(client.get_run(run_id).info.experiment_id).name)


def link(*, project: str, environment: str) -> Path:
    """Link MLflow's environment for the MLproject in folder `project` to the virtual environment `environment`.

    Returns the link. An environment that MLflow itself created is left unchanged.

    Raises
    ------
    ConfigError
        If `project` has no `python_env.yaml`.
    """
    # MLflow offers no public way to ask for the name; the e2e test runs `mlflow run .` without a flag.
    from mlflow.utils.environment import _PythonEnv
    from mlflow.utils.virtualenv import _get_mlflow_virtualenv_root, _get_virtualenv_name

    folder = Path(project).resolve()
    specification = folder / "python_env.yaml"
    if not specification.exists():
        raise ConfigError(f"{folder} has no python_env.yaml: run this in the folder of the MLproject, or set --project")
    name = _get_virtualenv_name(_PythonEnv.from_yaml(str(specification)), folder)
    path = Path(str(_get_mlflow_virtualenv_root())) / str(name)
    if path.is_symlink():
        path.unlink()
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(Path(environment).resolve(), target_is_directory=True)
    return path
