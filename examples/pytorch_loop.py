"""Train on digits in a plain PyTorch loop; one line adds FRM to the run.

Run it: python examples/pytorch_loop.py
"""

from __future__ import annotations

import mlflow
import torch
from digits import network, tensors

import frm_mlflow

images, labels = tensors()
model = network()
optimiser = torch.optim.Adam(model.parameters(), lr=3e-3)

mlflow.set_experiment("examples")
with mlflow.start_run(run_name="pytorch loop"):
    for epoch in range(5):
        for rows in torch.randperm(len(images)).split(64):
            loss = torch.nn.functional.cross_entropy(model(images[rows]), labels[rows])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        mlflow.log_metric("loss", loss.item(), step=epoch)

    result = frm_mlflow.log_frm(model, images[:1], name="digits_cnn", baseline="mobilenet_v3_small", measure="quick")

print(f"FRM {result.frm:.2e}: {result.metrics['latency/p50_ms']:.4f} ms a call on {result.tags['frm.device']}")
