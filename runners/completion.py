"""`frm-mlflow completion`: the script that lets a shell complete commands, settings and values."""

from __future__ import annotations

import json

import click
from click.shell_completion import get_completion_class

from ._options import as_json

VARIABLE = "_FRM_MLFLOW_COMPLETE"
"""Environment variable by which the script asks `frm-mlflow` for completions."""


@click.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@as_json
def command(shell: str, as_json: bool) -> None:
    """Print the completion script: eval "$(frm-mlflow completion bash)"."""
    text = script(shell)
    click.echo(json.dumps({"shell": shell, "script": text}) if as_json else text)


def script(shell: str) -> str:
    """Return the completion script for bash, zsh or fish."""
    kind = get_completion_class(shell)
    if kind is None:
        raise click.UsageError(f"there is no completion for '{shell}': use bash, zsh or fish")
    if shell != "bash":
        return kind(click.Command("frm-mlflow"), {}, "frm-mlflow", VARIABLE).source()
    # `key=` is one word, and no space follows it. (`source` would also ask bash for its version.)
    source = kind.source_template % {
        "complete_func": "_frm_mlflow_completion",
        "complete_var": VARIABLE,
        "prog_name": "frm-mlflow",
    }
    return "COMP_WORDBREAKS=${COMP_WORDBREAKS//=}\n" + source.replace("-o nosort", "-o nosort -o nospace -o default")
