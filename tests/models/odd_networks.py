"""Networks that are not image classifiers, for `model.target=odd_networks:NAME`."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torchvision.ops import nms


class BothWays(nn.Module):
    """A bidirectional GRU over a sequence."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.GRU(8, 6, batch_first=True, bidirectional=True)
        self.head = nn.Linear(12, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.layer(x)[0][:, -1])


class Masked(nn.Module):
    """A text encoder: token ids and a mask of integers."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(50, 16)
        layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)

    def forward(self, ids: Tensor, mask: Tensor) -> dict[str, Tensor]:
        hidden = self.encoder(self.table(ids), src_key_padding_mask=mask == 0)
        return {"hidden": hidden, "pooled": hidden.mean(1)}


class TwoInputs(nn.Module):
    """A network with two inputs of different shapes, and a scalar."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(8, 4), nn.Linear(5, 4)

    def forward(self, a: Tensor, b: Tensor, gain: Tensor) -> tuple[Tensor, Tensor]:
        return self.a(a) * gain, self.b(b)


class Stateful(nn.Module):
    """One step of a recurrent network: the state has its batch on the second axis."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.LSTM(8, 6, batch_first=True)

    def forward(self, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        y, (h, c) = self.layer(x, (h, c))
        return y, h, c


class Mixed(nn.Module):
    """A transposed convolution, an einsum and a class id."""

    def __init__(self) -> None:
        super().__init__()
        self.up = nn.ConvTranspose2d(3, 4, 2, stride=2)
        self.weight = nn.Parameter(torch.randn(4, 5))

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        scores = torch.einsum("bchw,ck->bk", self.up(x), self.weight)
        return {"scores": scores, "best": scores.argmax(-1)}


class Suppressing(nn.Module):
    """Boxes with non-maximum suppression in the graph: the number of outputs depends on the data."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(4, 5)

    def forward(self, x: Tensor) -> Tensor:
        out = self.head(x)
        corners = out[:, :2]
        boxes = torch.cat([corners, corners + 1 + out[:, 2:4].abs()], 1)
        return boxes[nms(boxes, out[:, 4], 0.5)]


class Bag(nn.Module):
    """An embedding bag: sums of rows of a table."""

    def __init__(self) -> None:
        super().__init__()
        self.bag = nn.EmbeddingBag(30, 8, mode="sum")
        self.head = nn.Linear(8, 2)

    def forward(self, ids: Tensor) -> Tensor:
        return self.head(self.bag(ids))


class Detector(nn.Module):
    """A detector that takes and returns lists of dicts, like torchvision's."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(6, 4)

    def forward(self, images: list[dict[str, Tensor]]) -> list[dict[str, Tensor]]:
        found = [self.head(one["pixels"]) for one in images]
        return [{"boxes": f[f[:, 0] > f[:, 0].mean()], "count": torch.tensor(len(f))} for f in found]


@dataclass
class Answer:
    logits: Tensor
    hidden: Tensor | None = None


class Answering(nn.Module):
    """A network that returns a dataclass."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Answer:
        return Answer(self.head(x))


def pictures() -> list[list[dict[str, Tensor]]]:
    """Return the arguments of one call of `Detector`."""
    generator = torch.Generator().manual_seed(0)
    return [[{"pixels": torch.randn(9, 6, generator=generator)}, {"pixels": torch.randn(7, 6, generator=generator)}]]


def scripted() -> nn.Module:
    """Return a network scripted by TorchScript."""
    return torch.jit.script(nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 2)).eval())


def dynamically_quantised() -> nn.Module:
    """Return a network whose layers multiply 8-bit integers."""
    layers = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 2)).eval()
    return torch.ao.quantization.quantize_dynamic(layers, {nn.Linear}, torch.qint8)


def spectral() -> nn.Module:
    """Return a network with complex outputs."""

    class Spectral(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.fft.rfft(x)

    return Spectral()
