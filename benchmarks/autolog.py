"""Measure what `frm_mlflow.autolog()` adds to training, without its benchmark: `python benchmarks/autolog.py --check`.

A network is trained on digits by Lightning's and by Hugging Face's Trainer in an MLflow run, with autologging
alternately on and off, with the same seed. These runs skip the final benchmark. Everything else that autologging
does is included, and its median share of training time must be below 1 %. Then each trainer trains twice
in a row with the real benchmark in between. The weights must equal those of two trainings without it.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import lightning.pytorch as pl
import mlflow
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from transformers import PretrainedConfig, PreTrainedModel, Trainer, TrainingArguments

import frm_mlflow
from benchmarks.results import add_option, recorded
from frm_mlflow.integrations import autolog

LIMIT = 0.01
Train = Callable[[int], nn.Module]
"""A function from the number of epochs to the trained network."""


def layers() -> nn.Sequential:
    """Return a small network for digits."""
    return nn.Sequential(nn.Conv2d(1, 32, 3), nn.ReLU(), nn.Dropout(0.2), nn.Flatten(), nn.Linear(32 * 36, 10))


def digits() -> TensorDataset:
    """Return images (1797, 1, 8, 8) and labels."""
    data = load_digits()
    return TensorDataset(torch.tensor(data.images / 16, dtype=torch.float32).unsqueeze(1), torch.tensor(data.target))


class Module(pl.LightningModule):
    """The network under Lightning."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = layers()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the logits."""
        return self.layers(images)

    def training_step(self, batch: list[torch.Tensor]) -> torch.Tensor:
        """Return the loss."""
        return nn.functional.cross_entropy(self(batch[0]), batch[1])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return Adam."""
        return torch.optim.Adam(self.parameters())


class Hugging(PreTrainedModel):
    """The network under Hugging Face's Trainer."""

    config_class = PretrainedConfig

    def __init__(self, config: PretrainedConfig) -> None:
        super().__init__(config)
        self.layers = layers()
        self.post_init()

    def forward(self, images: torch.Tensor, labels: torch.Tensor | None = None) -> dict[str, torch.Tensor]:
        """Return the logits, and the loss if labels are given."""
        logits = self.layers(images)
        return (
            {"logits": logits}
            if labels is None
            else {"loss": nn.functional.cross_entropy(logits, labels), "logits": logits}
        )


def train_lightning(epochs: int) -> nn.Module:
    """Train with Lightning."""
    module = Module()
    trainer = pl.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, DataLoader(digits(), batch_size=64, shuffle=True))
    return module


def train_transformers(epochs: int) -> nn.Module:
    """Train with Hugging Face's Trainer."""
    model = Hugging(PretrainedConfig())
    rows = [{"images": image, "labels": label} for image, label in digits()]
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder,
            num_train_epochs=epochs,
            per_device_train_batch_size=64,
            report_to="none",
            save_strategy="no",
            logging_strategy="no",
            disable_tqdm=True,
            use_cpu=True,
        )
        Trainer(model, arguments, train_dataset=rows).train()
    return model


@contextmanager
def switched_on() -> Iterator[None]:
    """Enable autologging as a user would, and disable it at the end of the block."""
    frm_mlflow.autolog(baseline="mobilenet_v3_small", overrides=["runtime.threads=1"])
    try:
        yield
    finally:
        frm_mlflow.autolog(disable=True)


def seconds(train: Train, epochs: int) -> float:
    """Return the CPU time of one training run within an MLflow run."""
    pl.seed_everything(0, verbose=False)
    with mlflow.start_run():
        started = time.process_time()
        train(epochs)
        return time.process_time() - started


def overhead(train: Train, *, pairs: int, epochs: int) -> float:
    """Return the median share of time that autologging adds, without the benchmark."""
    ratios = []
    with mock.patch.object(autolog, "log_guarded", return_value=None) as benchmark:
        for pair in range(pairs + 1):
            order = (False, True) if pair % 2 else (True, False)
            taken = {}
            for on in order:
                if on:
                    with switched_on():
                        taken[on] = seconds(train, epochs)
                else:
                    taken[on] = seconds(train, epochs)
            ratios.append(taken[True] / taken[False])
    assert benchmark.call_count == pairs + 1, "autologging did not see the training"
    return statistics.median(ratios[1:]) - 1  # the first pair warms up


def two_trainings(train: Train, epochs: int) -> list[torch.Tensor]:
    """Return the weights of two trainings in a row. The second continues from the random state of the first."""
    pl.seed_everything(0, verbose=False)
    networks = []
    for _ in range(2):
        with mlflow.start_run():
            networks.append(train(epochs))
    return [weight for network in networks for weight in network.parameters()]


def same_weights(train: Train, *, epochs: int) -> tuple[bool, int]:
    """Return whether training is unaffected by the real benchmark, and how many FRM values were logged."""
    plain = two_trainings(train, epochs)
    experiment = mlflow.set_experiment("with autologging").experiment_id
    with switched_on():
        logged = two_trainings(train, epochs)
    runs = mlflow.MlflowClient().search_runs([experiment], "metrics.frm > 0")
    return all(torch.equal(a, b) for a, b in zip(plain, logged, strict=True)), len(runs)


def main() -> int:
    """Print the results; with `--check`, exit with 1 if the overhead is above the limit or weights differ."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--pairs", type=int, default=15)
    parser.add_argument("--epochs", type=int, default=3)
    add_option(parser)
    options = parser.parse_args()
    torch.set_num_threads(1)
    missed = False
    for name, train in (("Lightning", train_lightning), ("Transformers", train_transformers)):
        with tempfile.TemporaryDirectory() as folder:
            mlflow.set_tracking_uri(f"sqlite:///{Path(folder)}/mlflow.db")
            mlflow.set_experiment("overhead")
            found = overhead(train, pairs=options.pairs, epochs=options.epochs)
            same, frms = same_weights(train, epochs=1)
        print(f"{name}: overhead {found:+.2%} (median of {options.pairs} pairs); ", end="")
        print(f"same weights: {same}; FRMs logged: {frms}", flush=True)
        missed |= found > LIMIT or not same or frms != 2
    return 1 if options.check and missed else 0


if __name__ == "__main__":
    sys.exit(recorded(main, __file__))
