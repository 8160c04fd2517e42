"""Multiply-accumulates, parameters and activations of a network, counted on tensors without data.

On meta tensors attention runs as the matrix products that it is; on a CPU it is one fused
operator that torch's counter passes over in silence (11.3 instead of 17.6 GMACs for ViT-B/16).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode, flop_registry

from frm_mlflow.zoo.fit import flatten
from frm_mlflow.zoo.recipe import Recipe
from frm_mlflow.zoo.sparsity import Sparsity

_NO_PRODUCTS = """
_adaptive_avg_pool2d _adaptive_avg_pool3d _assert_async _assert_tensor_metadata _native_batch_norm_legit_no_training
_safe_softmax _softmax _to_copy _unsafe_index _unsafe_view adaptive_max_pool2d amax amin any arange argmax argmin
as_strided as_strided_ avg_pool1d avg_pool2d avg_pool3d bernoulli cat clone constant_pad_nd copy_ cumsum detach
embedding empty empty_like fill_ full full_like gather hardswish hardswish_ index index_select lift_fresh
lift_fresh_copy linspace max max_pool2d_with_indices mean min native_batch_norm native_group_norm native_layer_norm
new_empty new_full new_ones new_zeros norm ones ones_like pixel_shuffle pixel_unshuffle rand randn reflection_pad2d
repeat replication_pad2d roll scalar_tensor scatter slice_scatter sort split_with_sizes_copy stack std sum topk tril
triu upsample_bicubic2d upsample_bilinear2d upsample_nearest2d var var_mean zeros zeros_like
"""
"""Operators that hold no matrix product or convolution; the convention leaves them out, as it does pointwise ones."""


@dataclass(frozen=True)
class ComputeCost:
    """The cost of one sample: what `torch.utils.flop_counter` counts, halved, and what it could not count.

    `activations_m` are the elements that convolutions and matrix products write, in millions
    (Radosavovic et al., arXiv:2003.13678); `compute_ops` is how many of the `ops` calls those are.
    """

    gmacs: float
    params_m: float
    activations_m: float
    uncounted_ops: tuple[str, ...]
    ops: int
    compute_ops: int
    sparsity: Sparsity | None = None
    """Counted for a user's own weights only: drawn ones have no zeros."""


class _Tally(TorchDispatchMode):  # type: ignore[no-untyped-call] # torch types it in part
    """Counts the elements that counted operators write and names the operators nobody counts."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.activations = self.ops = self.compute_ops = 0
        self.uncounted: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = func(*args, **(kwargs or {}))
        self.ops += not func.is_view
        if func.overloadpacket in flop_registry:
            self.compute_ops += 1
            self.activations += sum(tensor.numel() for tensor in flatten(output))
        elif not (func.is_view or torch.Tag.pointwise in func.tags or _name(func) in _NO_PRODUCTS.split()):
            self.uncounted.add(_name(func))
        return output


def count(recipe: Recipe) -> ComputeCost:
    """Count the cost of one sample of the network that `recipe` makes.

    A network that cannot run without data (control flow that reads values) is counted on the
    CPU, with attention in its unfused form.
    """
    try:
        with torch.device("meta"):
            module = recipe.make()
        return _count(module.to("meta").eval(), (torch.zeros(1, *recipe.shape, device="meta"),))
    except Exception:  # a user's module may raise anything on tensors without data; the run on the CPU decides
        return _count(recipe.make().eval(), (torch.zeros(1, *recipe.shape),))


def count_module(module: nn.Module, inputs: Sequence[Tensor], *, batch_size: int) -> ComputeCost:
    """Count the cost of one sample of `module`, run as it is on `inputs`, which hold `batch_size` samples."""
    cost = _count(module, inputs)
    return replace(cost, gmacs=cost.gmacs / batch_size, activations_m=cost.activations_m / batch_size)


@torch.no_grad()
def _count(module: nn.Module, inputs: Sequence[Tensor]) -> ComputeCost:
    fast_path = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH), _Tally() as tally, FlopCounterMode(display=False) as counter:
            module(*inputs)
    finally:
        torch.backends.mha.set_fastpath_enabled(fast_path)
    return ComputeCost(
        gmacs=counter.get_total_flops() / 2e9,
        params_m=sum(parameter.numel() for parameter in module.parameters()) / 1e6,
        activations_m=tally.activations / 1e6,
        uncounted_ops=tuple(sorted(tally.uncounted)),
        ops=tally.ops,
        compute_ops=tally.compute_ops,
    )


def _name(func: Any) -> str:
    return str(func.overloadpacket.__name__)
