"""Options that several click commands share."""

from __future__ import annotations

import click

as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
older_than_days = click.option(
    "--older-than-days",
    type=float,
    default=30.0,
    show_default=True,
    help="prune: remove what was not used for this many days.",
)
