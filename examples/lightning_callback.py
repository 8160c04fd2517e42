"""Train and prune a digits network with PyTorch Lightning and log FRM as a curve over epochs.

Run it: python examples/lightning_callback.py
"""

from __future__ import annotations

import lightning.pytorch as pl
import mlflow
import torch
from digits import network, tensors
from torch.nn.utils import prune

from frm_mlflow.integrations.lightning import FRMCallback


class Digits(pl.LightningModule):
    """The digits network; each epoch prunes a third of the second convolution's remaining weights."""

    def __init__(self) -> None:
        super().__init__()
        self.network = network()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the logits."""
        return self.network(images)

    def training_step(self, batch: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        """Return the loss."""
        images, labels = batch
        return torch.nn.functional.cross_entropy(self(images), labels)

    def on_train_epoch_end(self) -> None:
        """Prune the second convolution."""
        prune.l1_unstructured(self.network[3], "weight", amount=0.33)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return the Adam optimiser."""
        return torch.optim.Adam(self.parameters(), lr=3e-3)


loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(*tensors()), batch_size=64, shuffle=True)
frm = FRMCallback(every_n_epochs=2, name="digits_pruned", baseline="mobilenet_v3_small", measure="quick")
trainer = pl.Trainer(
    max_epochs=4,
    accelerator="cpu",
    callbacks=[frm],
    logger=False,
    enable_checkpointing=False,
    enable_progress_bar=False,
    enable_model_summary=False,
)

mlflow.set_experiment("examples")
with mlflow.start_run(run_name="lightning"):
    trainer.fit(Digits(), loader)
