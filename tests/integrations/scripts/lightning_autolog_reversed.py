"""The same in the other order, with only MLflow's autologging for torch."""

import mlflow
from common import FAST, images, lightning_module, trainer

import frm_mlflow

frm_mlflow.autolog(**FAST)
mlflow.pytorch.autolog()
trainer(logger=False).fit(lightning_module(), images())
