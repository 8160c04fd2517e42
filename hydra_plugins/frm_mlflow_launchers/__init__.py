"""Hydra's door to the launchers `frm_ray` and `frm_slurm`: Hydra takes plugins from `hydra_plugins` only.

Every Hydra application of the environment imports this module, so it imports nothing but Hydra.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class _FrmLauncher(Launcher):
    """Keeps what Hydra hands over until the jobs are known."""

    def __init__(self, **settings: Any) -> None:
        super().__init__()
        self._settings = settings

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Remember the application's configuration; the task itself runs in processes of its own."""
        del task_function
        self._context, self._config = hydra_context, config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run the jobs and return when the last has ended."""
        from frm_mlflow.launcher import door

        return door.launch(
            self.name,
            self._settings,
            job_overrides,
            config=self._config,
            loader=self._context.config_loader,
            first=initial_job_idx,
        )

    name = ""


class RayLauncher(_FrmLauncher):
    """One Ray task a job on a host that has the job's device."""

    name = "frm_ray"


class SlurmLauncher(_FrmLauncher):
    """One Slurm array a group of devices."""

    name = "frm_slurm"
