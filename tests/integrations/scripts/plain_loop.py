"""A loop in plain torch."""

import mlflow
import torch
from common import FAST, images, network, trained

import frm_mlflow

with mlflow.start_run():
    model = trained(network(), images())
    frm_mlflow.log_frm(model, torch.zeros(1, 1, 8, 8), **FAST)
