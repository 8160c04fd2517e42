"""Lightning with DDP in two processes on one machine."""

import mlflow
from common import FAST, images, lightning_module, trainer

import frm_mlflow

frm_mlflow.autolog(**FAST)
if __name__ == "__main__":
    fitted = trainer(logger=False, strategy="ddp", devices=2, num_nodes=1)
    if fitted.is_global_zero:
        mlflow.start_run()
    fitted.fit(lightning_module(), images())
    if fitted.is_global_zero:
        mlflow.end_run()
