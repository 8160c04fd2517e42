"""`frm-mlflow link-env`: let `mlflow run .` use this environment instead of installing another one."""

from __future__ import annotations

import json
import sys

import click

from frm_mlflow.tracking import project_env

from ._options import as_json


@click.command("link-env")
@click.option("--project", default=".", show_default=True, help="Folder with the MLproject file.")
@as_json
def command(project: str, as_json: bool) -> None:
    """Let `mlflow run .` use this environment, without pyenv and a second installation."""
    link = project_env.link(project=project, environment=sys.prefix)
    if as_json:
        click.echo(json.dumps({"environment": sys.prefix, "link": str(link)}))
    else:
        click.echo(f"mlflow run uses {sys.prefix} (through {link})")
