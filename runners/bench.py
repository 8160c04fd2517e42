"""Benchmark models against a baseline and log one run per model: `frm-mlflow bench`, `mlflow run .`."""

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig


@hydra.main(version_base="1.3", config_path="pkg://frm_mlflow.conf", config_name="bench")
def main(config: DictConfig) -> None:
    """Benchmark the models that the configuration selects."""
    # Imported here so that --help and shell completion respond immediately.
    from frm_mlflow.stages.bench import bench
    from frm_mlflow.stages.job import hydra_job

    with hydra_job():
        given = HydraConfig.get().overrides
        own_groups = [word for word in given.hydra if word.startswith("hydra.searchpath=")]
        bench(config, overrides=list(given.task), search_path=own_groups)


if __name__ == "__main__":
    main()
