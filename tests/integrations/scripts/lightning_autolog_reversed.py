"""The same in the other order, with MLflow's autologging of torch alone."""

import mlflow
from common import FAST, images, lightning_module, trainer

import frm_mlflow

frm_mlflow.autolog(**FAST)
mlflow.pytorch.autolog()
trainer(logger=False).fit(lightning_module(), images())
