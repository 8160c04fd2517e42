"""Compute the paper's analyses from the tracking server: `frm-mlflow analyze`, `mlflow run . -e analyze`."""

import hydra
from omegaconf import DictConfig


@hydra.main(version_base="1.3", config_path="pkg://frm_mlflow.conf", config_name="analyze")
def main(config: DictConfig) -> None:
    """Analyse the benchmarks that the configuration selects."""
    from frm_mlflow.stages.analyze import analyze
    from frm_mlflow.stages.job import hydra_job

    with hydra_job():
        analyze(config)


if __name__ == "__main__":
    main()
