"""Register the launchers `frm_ray` and `frm_slurm` with Hydra, which only loads plugins from `hydra_plugins`.

Every Hydra application in the environment imports this module, so it imports only Hydra.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class _FrmLauncher(Launcher):
    """Stores what Hydra passes to `setup` until `launch` receives the jobs."""

    def __init__(self, **settings: Any) -> None:
        super().__init__()
        self._settings = settings

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Store the application's configuration. The task itself runs in separate processes."""
        del task_function
        self._context, self._config = hydra_context, config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run the jobs and return when the last one has ended."""
        from frm_mlflow.launcher import launch

        return launch.launch(
            self.name,
            self._settings,
            job_overrides,
            config=self._config,
            loader=self._context.config_loader,
            first=initial_job_idx,
        )

    name = ""


class RayLauncher(_FrmLauncher):
    """Runs each job as one Ray task on a host that has the job's device."""

    name = "frm_ray"


class SlurmLauncher(_FrmLauncher):
    """Runs the jobs of each device as one Slurm array."""

    name = "frm_slurm"
