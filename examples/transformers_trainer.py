"""Train a tiny, randomly initialised ViT with Hugging Face's Trainer; `autolog` adds FRM at the end of training.

Run it: python examples/transformers_trainer.py
"""

from __future__ import annotations

import tempfile

import mlflow
import torch
from digits import tensors
from transformers import Trainer, TrainingArguments, ViTConfig, ViTForImageClassification

import frm_mlflow

frm_mlflow.autolog(baseline="mobilenet_v3_small")

images, labels = tensors()
rows = [{"pixel_values": image, "labels": label} for image, label in zip(images[:256], labels[:256], strict=True)]
config = ViTConfig(
    image_size=8,
    patch_size=2,
    num_channels=1,
    hidden_size=32,
    num_hidden_layers=2,
    num_attention_heads=2,
    intermediate_size=64,
    num_labels=10,
)

mlflow.set_experiment("examples")
with mlflow.start_run(run_name="transformers"), tempfile.TemporaryDirectory() as folder:
    arguments = TrainingArguments(
        output_dir=folder, num_train_epochs=1, report_to="none", save_strategy="no", disable_tqdm=True, use_cpu=True
    )
    torch.manual_seed(0)
    Trainer(ViTForImageClassification(config), arguments, train_dataset=rows).train()
