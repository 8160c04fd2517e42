"""Half precisions emulated on a CPU: every network in the catalogue is well within its tolerance."""

from __future__ import annotations

import copy

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from frm_mlflow.config import ModelConfig
from frm_mlflow.measure.tolerance import TOLERANCES
from frm_mlflow.worker.identity import Agreement, agreement
from frm_mlflow.zoo.build import build
from frm_mlflow.zoo.catalogue import CATALOGUE
from frm_mlflow.zoo.fit import flatten
from frm_mlflow.zoo.samples import REFERENCE_SEED

aten = torch.ops.aten
OPERANDS = {
    aten.convolution.default: (0, 1),
    aten.mm.default: (0, 1),
    aten.bmm.default: (0, 1),
    aten.addmm.default: (1, 2),
    aten.baddbmm.default: (1, 2),
}
"""Operators that tensor cores compute, and the arguments that lose bits."""
HALF = {"fp16": torch.float16, "bf16": torch.bfloat16}
DROPPED_BITS = 13


def rounded(tensor: torch.Tensor) -> torch.Tensor:
    """Round fp32 to the nearest value with TF32's 10 mantissa bits."""
    bits = tensor.contiguous().view(torch.int32)
    half, kept = 1 << (DROPPED_BITS - 1), ~((1 << DROPPED_BITS) - 1)
    return ((bits + half) & kept).view(torch.float32)


class Tf32(TorchDispatchMode):
    """Convolutions and matrix products of rounded operands, summed in fp32, like tensor cores compute them."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        given = list(args)
        for k in OPERANDS.get(function, ()):
            given[k] = rounded(given[k])
        return function(*given, **(kwargs or {}))


def deviation(name: str, precision: str) -> Agreement:
    built = build(ModelConfig(name, source=CATALOGUE[name].source), batch_size=1)
    x = built.example(seed=REFERENCE_SEED)
    with torch.inference_mode():
        reference = [o.float().numpy() for o in flatten(built.module(x))]
    if precision == "tf32":
        with torch.no_grad(), Tf32():
            outputs = flatten(built.module(x))
    else:
        module = copy.deepcopy(built.module).to(HALF[precision])
        with torch.inference_mode():
            outputs = flatten(module(x.to(HALF[precision])))
    return agreement([o.float().numpy() for o in outputs], reference)


def test_tf32_keeps_ten_bits():
    x = torch.tensor([1 + 2**-10, 1 + 2**-11, 1 + 2**-12, -3.0])
    assert rounded(x).tolist() == [1 + 2**-10, 1 + 2**-10, 1.0, -3.0]


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["tf32", "fp16", "bf16"])
@pytest.mark.parametrize("name", list(CATALOGUE))
def test_every_network_meets_the_tolerance_of_its_precision(name: str, precision: str):
    found, allowed = deviation(name, precision), TOLERANCES[precision]
    assert found.finite
    assert found.cosine >= allowed.cosine
    assert found.max_rel_error <= allowed.max_rel_error
