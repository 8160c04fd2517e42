"""Counts a network's multiply-accumulates, parameters and activations while it runs on the measured input.

Attention runs as separate matrix products: on a CPU it is one fused operator by default, which torch's own
counter does not count (11.3 instead of 17.6 GMACs for ViT-B/16).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from frm_mlflow.zoo.operators import counting, storage_of
from frm_mlflow.zoo.recipe import Recipe
from frm_mlflow.zoo.samples import REFERENCE_SEED, images
from frm_mlflow.zoo.sparsity import Sparsity

NO_PRODUCTS = "none: no matrix product or convolution"
"""Reported as uncounted if a network has no multiply-accumulates, since a ratio of 0 would mean no cost."""


@dataclass(frozen=True)
class ComputeCost:
    """The cost of one sample, and the operators that could not be counted.

    `activations_m` is the number of elements that convolutions and matrix products write, in millions
    (Radosavovic et al., arXiv:2003.13678). `compute_ops` is the number of these operators among the `ops` calls.
    `products` and `weights` are what a converter must preserve: products that depend on the input, those with
    the same weight counted once, and the distinct weights applied to data. `quantised_ops` counts calls on quantised
    weights.
    """

    gmacs: float
    params_m: float
    activations_m: float
    uncounted_ops: tuple[str, ...]
    ops: int
    compute_ops: int
    products: int = 0
    weights: int = 0
    quantised_ops: int = 0
    sparsity: Sparsity | None = None
    """Counted only for a user's weights, since random ones have no zeros."""

    @property
    def is_complete(self) -> bool:
        """Return whether `gmacs` is the network's full cost; if not, it has no FLOPs and no FRM."""
        return not self.uncounted_ops


def count(recipe: Recipe) -> ComputeCost:
    """Count the cost of one sample of the network that `recipe` creates, on a random image of its shape."""
    rng = np.random.default_rng(REFERENCE_SEED)
    return count_module(recipe.make().eval(), (torch.from_numpy(images(1, recipe.shape, rng=rng)),), batch_size=1)


def count_module(module: nn.Module, inputs: Sequence[Tensor], *, batch_size: int) -> ComputeCost:
    """Count the cost of one sample of `module`, run unchanged on `inputs`, which contain `batch_size` samples."""
    with counting(inputs) as tally:
        module(*inputs)
    uncounted = tuple(sorted(tally.uncounted)) or (() if tally.macs else (NO_PRODUCTS,))
    cost = ComputeCost(
        gmacs=tally.macs / 1e9,
        params_m=sum(parameter.numel() for parameter in module.parameters()) / 1e6,
        activations_m=tally.activations / 1e6,
        uncounted_ops=uncounted,
        ops=tally.ops,
        compute_ops=tally.compute_ops,
        products=tally.distinct_products,
        weights=_distinct_weights(module, tally.weights),
        quantised_ops=tally.quantised_ops,
    )
    return replace(cost, gmacs=cost.gmacs / batch_size, activations_m=cost.activations_m / batch_size)


def _distinct_weights(module: nn.Module, used: Mapping[int, int]) -> int:
    """Return the number of elements of parameters applied to data; equal ones count once, as when stored."""
    sizes: dict[str, int] = {}
    for parameter in module.parameters():
        part = min(used.get(storage_of(parameter), 0), parameter.numel())
        if part:
            values = parameter.detach().cpu().contiguous().view(torch.uint8).numpy()
            sizes[hashlib.sha256(values.tobytes()).hexdigest()] = part
    return sum(sizes.values())
