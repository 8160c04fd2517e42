"""Propose which models to measure next on a device: `frm-mlflow plan`, `mlflow run . -e plan`."""

import hydra
from omegaconf import DictConfig


@hydra.main(version_base="1.3", config_path="pkg://frm_mlflow.conf", config_name="plan")
def main(config: DictConfig) -> None:
    """Plan the next measurements on the target."""
    from frm_mlflow.stages import predict
    from frm_mlflow.stages.job import hydra_job

    with hydra_job():
        predict.plan(config)


if __name__ == "__main__":
    main()
