"""Lets `mlflow run .` use an environment that exists already.

By default `mlflow run` makes a virtual environment with pyenv and crashes where pyenv is
missing. It looks for that environment under a name made from `python_env.yaml` first; a link
under this name to the environment that `make setup` has made is therefore all that it takes.
"""

from __future__ import annotations

from pathlib import Path

from frm_mlflow.errors import ConfigError


def link(*, project: str, environment: str) -> Path:
    """Link MLflow's environment for the MLproject in folder `project` to the virtual environment `environment`.

    Returns the link. An environment that MLflow made itself is left alone.

    Raises
    ------
    ConfigError
        Where `project` has no `python_env.yaml`.
    """
    # MLflow offers no public way to ask for the name; the e2e test runs `mlflow run .` without a flag.
    from mlflow.utils.environment import _PythonEnv
    from mlflow.utils.virtualenv import _get_mlflow_virtualenv_root, _get_virtualenv_name

    folder = Path(project).resolve()
    specification = folder / "python_env.yaml"
    if not specification.exists():
        raise ConfigError(f"{folder} has no python_env.yaml: run this where the MLproject is, or give --project")
    name = _get_virtualenv_name(_PythonEnv.from_yaml(str(specification)), folder)
    path = Path(str(_get_mlflow_virtualenv_root())) / str(name)
    if path.is_symlink():
        path.unlink()
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(Path(environment).resolve(), target_is_directory=True)
    return path
