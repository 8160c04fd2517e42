"""A network that was dynamically quantised after training."""

import mlflow
import torch
from common import FAST, images, network, trained
from torch import nn

import frm_mlflow
from frm_mlflow.errors import FrmError

model = torch.ao.quantization.quantize_dynamic(trained(network(), images()), {nn.Linear}, dtype=torch.qint8)
with mlflow.start_run():
    try:
        frm_mlflow.log_frm(model, torch.zeros(1, 1, 8, 8), **FAST)
    except FrmError as error:
        raise SystemExit(f"FRM was not measured: {error}") from None
