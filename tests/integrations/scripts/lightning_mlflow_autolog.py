"""Lightning with both autologs; MLflow creates the run and logs the model inside `fit`."""

import mlflow
from common import FAST, images, lightning_module, trainer

import frm_mlflow

mlflow.autolog()
frm_mlflow.autolog(**FAST)
trainer(logger=False).fit(lightning_module(), images())
