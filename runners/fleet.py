"""`frm-mlflow fleet`: the devices of a Ray cluster, their jobs and the queue."""

from __future__ import annotations

import click

from frm_mlflow.launcher import device_status
from frm_mlflow.progress import console

from ._options import as_json


@click.command("fleet")
@click.option(
    "--address",
    default="auto",
    help="HOST:PORT of the cluster's head.  [default: $RAY_ADDRESS, else the cluster on this host]",
)
@as_json
def command(address: str, as_json: bool) -> int:
    """Show the devices of a Ray cluster, what each is doing, and which jobs wait."""
    return device_status.show(address=address, as_json=as_json, out=console())
