"""A recurrent network over twelve time steps."""

import mlflow
import torch
from common import FAST
from torch import nn

import frm_mlflow

with mlflow.start_run():
    frm_mlflow.log_frm(nn.LSTM(20, 64, batch_first=True), torch.zeros(1, 12, 20), **FAST)
