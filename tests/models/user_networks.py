"""A user's networks, for `model.target=user_networks:NAME`."""

from __future__ import annotations

import torch
from torch import nn


class Residual(nn.Module):
    """A convolution, a gated residual branch, attention over pixels and a head: exporters must keep all of it."""

    def __init__(self, width: int = 16, gate: float = 0.7, classes: int = 10) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, width, 3, stride=2, padding=1), nn.BatchNorm2d(width), nn.ReLU())
        self.branch = nn.Sequential(nn.Conv2d(width, 4 * width, 1), nn.ReLU(), nn.Conv2d(4 * width, width, 1))
        self.gate = nn.Parameter(torch.full((width, 1, 1), gate))
        self.qkv = nn.Linear(width, 3 * width)
        self.head = nn.Linear(width, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        x = x + self.gate * self.branch(x)
        q, k, v = self.qkv(x.flatten(2).transpose(1, 2)).chunk(3, dim=-1)
        x = nn.functional.scaled_dot_product_attention(q[:, None], k[:, None], v[:, None])
        return self.head(x.mean((1, 2)))


def residual(**settings) -> nn.Module:
    """Return a network that passes every check."""
    return Residual(**settings)


def closed_gate() -> nn.Module:
    """Return a network whose branch is multiplied by zero, so a compiler may delete it."""
    return Residual(gate=0.0)


def not_finite() -> nn.Module:
    network = Residual()
    network.head.weight.data[0, 0] = float("nan")
    return network


def subnormal() -> nn.Module:
    network = Residual()
    network.stem[0].weight.data.mul_(1e-38)
    network.stem[0].bias.data.zero_()
    network.stem[1] = nn.Identity()
    return network


def huge() -> nn.Module:
    network = Residual()
    network.head.weight.data.mul_(1e9)
    return network


def plain() -> nn.Module:
    """Return a deep network without normalisation: its outputs vanish unless its scale is set layer by layer."""
    layers = [layer for _ in range(30) for layer in (nn.Conv2d(3, 3, 3, padding=1, bias=False), nn.ReLU())]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(3 * 32 * 32, 10, bias=False))


def reads_values() -> nn.Module:
    """Return a network whose control flow reads data, so it cannot be counted on tensors without data."""

    class ReadsValues(Residual):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x if float(x.sum()) > -1e9 else -x)

    return ReadsValues()


def fourier() -> nn.Module:
    """Return a network with a Fourier transform, which the counter does not support."""

    class Fourier(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(32, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(torch.fft.fft(x).abs().mean((1, 2)))

    return Fourier()


def no_module() -> object:
    return object()


def raises() -> nn.Module:
    message = "no such checkpoint"
    raise FileNotFoundError(message)
