"""A torchvision detector, which takes a list of images and returns dicts."""

import mlflow
import torch
from common import FAST
from torchvision.models.detection import ssdlite320_mobilenet_v3_large

import frm_mlflow
from frm_mlflow.errors import FrmError

model = ssdlite320_mobilenet_v3_large(weights=None, weights_backbone=None).eval()
with mlflow.start_run():
    try:
        frm_mlflow.log_frm(model, ([torch.zeros(3, 320, 320)],), **FAST)
    except FrmError as error:
        raise SystemExit(f"FRM was not measured: {error}") from None
