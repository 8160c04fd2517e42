"""Hugging Face's Trainer with its own MLflow callback."""

import tempfile

import torch
from common import FAST
from transformers import Trainer, TrainingArguments, ViTConfig, ViTForImageClassification

import frm_mlflow

frm_mlflow.autolog(**FAST)
config = ViTConfig(
    image_size=8, patch_size=4, num_channels=1, hidden_size=8, num_hidden_layers=1, num_attention_heads=2
)
rows = [{"pixel_values": torch.full((1, 8, 8), i / 16), "labels": i % 2} for i in range(16)]
with tempfile.TemporaryDirectory() as folder:
    arguments = TrainingArguments(
        output_dir=folder, num_train_epochs=1, report_to="mlflow", save_strategy="no", disable_tqdm=True, use_cpu=True
    )
    Trainer(ViTForImageClassification(config), arguments, train_dataset=rows).train()
