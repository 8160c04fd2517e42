"""Shared by the examples: scikit-learn's 8 x 8 digits as tensors, and a network that learns them in seconds."""

from __future__ import annotations

import torch
from sklearn.datasets import load_digits
from torch import nn


def tensors() -> tuple[torch.Tensor, torch.Tensor]:
    """Return images (1797, 1, 8, 8) scaled to [0, 1], and labels."""
    digits = load_digits()
    return torch.tensor(digits.images / 16, dtype=torch.float32).unsqueeze(1), torch.tensor(digits.target)


def network() -> nn.Sequential:
    """Return a network of two convolutions and a linear classifier."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, padding=1, stride=2),
        nn.ReLU(),
        nn.Flatten(),
        nn.Dropout(0.2),
        nn.Linear(32 * 4 * 4, 10),
    )
