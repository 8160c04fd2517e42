"""Lightning without MLflow: no run is active and Lightning logs nothing."""

from common import FAST, images, lightning_module, trainer

import frm_mlflow

frm_mlflow.autolog(**FAST)
trainer(logger=False).fit(lightning_module(), images())
