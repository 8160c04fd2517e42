"""One file per command, named as typed (`link-env` is `link_env.py`).

A command with a Hydra configuration is a function of the same name that takes the composed configuration; the others
are click commands called `command`. `frm_mlflow.cli` finds both by name and imports only the one that runs.
"""
