"""Registers the launchers with Hydra, which searches only installed packages and misses an editable one."""

from __future__ import annotations

from hydra.core.plugins import Plugins

from hydra_plugins.frm_mlflow_launchers import RayLauncher, SlurmLauncher


def register() -> None:
    """Register `frm_ray` and `frm_slurm`."""
    for launcher in (RayLauncher, SlurmLauncher):
        Plugins.instance().register(launcher)
