"""Benchmark a logged model and log the result to its run: `frm-mlflow attach`."""

import hydra
from omegaconf import DictConfig


@hydra.main(version_base="1.3", config_path="pkg://frm_mlflow.conf", config_name="attach")
def main(config: DictConfig) -> None:
    """Benchmark the model given in the configuration."""
    from frm_mlflow.stages.attach import attach
    from frm_mlflow.stages.job import hydra_job

    with hydra_job():
        attach(config)


if __name__ == "__main__":
    main()
