"""Lightning with its own MLFlowLogger."""

import os

from common import FAST, images, lightning_module, trainer
from lightning.pytorch.loggers import MLFlowLogger

import frm_mlflow

frm_mlflow.autolog(**FAST)
logger = MLFlowLogger(experiment_name="scripts", tracking_uri=os.environ["MLFLOW_TRACKING_URI"])
trainer(logger=logger).fit(lightning_module(), images())
