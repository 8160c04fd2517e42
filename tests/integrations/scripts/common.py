"""Data and networks shared by the training scripts; each script trains only briefly."""

from __future__ import annotations

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

FAST = {"baseline": "squeezenet1_1", "measure": "quick", "overrides": ["runtime.threads=1"]}
"""Settings of a benchmark that takes seconds."""


def images(count: int = 32) -> DataLoader:
    torch.manual_seed(0)
    return DataLoader(TensorDataset(torch.randn(count, 1, 8, 8), torch.randint(0, 10, (count,))), batch_size=8)


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 10))


def trained(model: nn.Module, batches: DataLoader) -> nn.Module:
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1)
    for inputs, labels in batches:
        optimiser.zero_grad()
        nn.functional.cross_entropy(model(inputs), labels).backward()
        optimiser.step()
    return model


def lightning_module():
    import lightning.pytorch as pl

    class Module(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net = network()

        def forward(self, inputs):
            return self.net(inputs)

        def training_step(self, batch, _):
            inputs, labels = batch
            return nn.functional.cross_entropy(self(inputs), labels)

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.1)

    return Module()


def trainer(**options):
    import lightning.pytorch as pl

    quiet = {"enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False}
    return pl.Trainer(**({"max_epochs": 1, "accelerator": "cpu"} | quiet | options))
