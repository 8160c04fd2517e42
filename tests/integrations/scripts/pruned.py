"""A pruned network with its masks still in place."""

import mlflow
import torch
from common import FAST, images, network, trained
from torch.nn.utils import prune

import frm_mlflow

model = trained(network(), images())
prune.l1_unstructured(model[3], "weight", amount=0.5)
with mlflow.start_run():
    frm_mlflow.log_frm(model, torch.zeros(1, 1, 8, 8), **FAST)
