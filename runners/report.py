"""Write one self-contained HTML report from the tracking server: `frm-mlflow report`, `mlflow run . -e report`."""

import hydra
from omegaconf import DictConfig


@hydra.main(version_base="1.3", config_path="pkg://frm_mlflow.conf", config_name="report")
def main(config: DictConfig) -> None:
    """Report on the benchmarks that the configuration selects."""
    from frm_mlflow.stages.job import hydra_job
    from frm_mlflow.stages.report import report

    with hydra_job():
        report(config)


if __name__ == "__main__":
    main()
