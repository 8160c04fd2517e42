"""Recommend the model to ship within a latency budget: `frm-mlflow recommend`, `mlflow run . -e recommend`."""

import hydra
from omegaconf import DictConfig


@hydra.main(version_base="1.3", config_path="pkg://frm_mlflow.conf", config_name="recommend")
def main(config: DictConfig) -> None:
    """Recommend a model for the target."""
    from frm_mlflow.stages import predict
    from frm_mlflow.stages.job import hydra_job

    with hydra_job():
        predict.recommend(config)


if __name__ == "__main__":
    main()
