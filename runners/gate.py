"""Let CI say no: `frm-mlflow gate`."""

import hydra
from omegaconf import DictConfig


@hydra.main(version_base="1.3", config_path="pkg://frm_mlflow.conf", config_name="gate")
def main(config: DictConfig) -> None:
    """Decide about the model that the configuration names."""
    from frm_mlflow.stages.gate import gate
    from frm_mlflow.stages.job import hydra_job

    with hydra_job():
        gate(config)


if __name__ == "__main__":
    main()
