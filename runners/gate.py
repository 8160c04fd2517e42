"""Pass or fail a model in CI: `frm-mlflow gate`."""

import re
import sys

import hydra
from omegaconf import DictConfig


@hydra.main(version_base="1.3", config_path="pkg://frm_mlflow.conf", config_name="gate")
def run(config: DictConfig) -> None:
    """Decide whether the candidate in the configuration passes."""
    from frm_mlflow.stages.gate import gate
    from frm_mlflow.stages.job import hydra_job

    with hydra_job():
        gate(config)


def main() -> None:
    """Run with `model=URI` read as the candidate, since for Hydra `model` is the group of networks used by `bench`."""
    sys.argv[1:] = [re.sub(r"^model=", "candidate=", word) for word in sys.argv[1:]]
    run()


if __name__ == "__main__":
    main()
