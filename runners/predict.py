"""Predict latency and the frontier on an unmeasured device: `frm-mlflow predict`, `mlflow run . -e predict`."""

import hydra
from omegaconf import DictConfig


@hydra.main(version_base="1.3", config_path="pkg://frm_mlflow.conf", config_name="predict")
def main(config: DictConfig) -> None:
    """Predict for the target, or evaluate the predictors."""
    from frm_mlflow.stages import predict
    from frm_mlflow.stages.job import hydra_job

    with hydra_job():
        predict.predict(config)


if __name__ == "__main__":
    main()
