"""Import results from other tools: `frm-mlflow ingest`, `mlflow run . -e ingest`."""

import hydra
from omegaconf import DictConfig


@hydra.main(version_base="1.3", config_path="pkg://frm_mlflow.conf", config_name="ingest")
def main(config: DictConfig) -> None:
    """Import from the source given in the configuration."""
    from frm_mlflow.stages.ingest import ingest
    from frm_mlflow.stages.job import hydra_job

    with hydra_job():
        ingest(config)


if __name__ == "__main__":
    main()
