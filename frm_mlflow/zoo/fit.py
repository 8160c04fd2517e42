"""Random weights that are suitable for measurement.

A freshly initialised network does not cost the same as a trained one: default initialisation gives outputs
from 1e-14 to 2e+11, subnormal numbers that slow down a CPU, and scales of zero that let a
compiler remove whole branches. This module makes random weights behave like trained ones, and
`check` rejects those that do not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from frm_mlflow.errors import ModelError
from frm_mlflow.zoo.call import Call

LARGEST_ACTIVATION = 1e6
SMALLEST_OUTPUT, LARGEST_OUTPUT = 1e-4, 1e4
SUBNORMAL_SHARE = 1e-3
"""Maximum share of a layer's outputs that may be subnormal: each costs an x86 core a hundred cycles."""

_SCALE_NAMES = ("weight", "gamma", "scale", "layer_scale", "alpha")


def make_fit(module: nn.Module, batch: Call, *, generator: torch.Generator) -> None:
    """Redraw constant parameters and set the layers' scales, so that `module` computes like a trained network."""
    redraw_idle_parameters(module, generator=generator)
    if any(isinstance(layer, _BatchNorm) for layer in module.modules()):
        calibrate_batch_norms(module, batch)
    elif not any("Norm" in type(layer).__name__ for layer in module.modules()):
        equalise(module, batch)


def redraw_idle_parameters(module: nn.Module, *, generator: torch.Generator) -> None:
    """Redraw in place every parameter whose values are all equal.

    Examples are a bias or position of zero, a scale of zero or one. Training changes each of them, while a compiler
    folds it away. `_redraw` describes the distributions.
    """
    for name, parameter in module.named_parameters():
        if not parameter.is_floating_point() or parameter.numel() == 0:
            continue
        values = parameter.detach()
        first = float(values.flatten()[0])
        if bool((values == first).all()) and (values.numel() > 1 or first == 0.0):
            _redraw(values, first, name=name.rpartition(".")[2], generator=generator)


def _redraw(values: Tensor, first: float, *, name: str, generator: torch.Generator) -> None:
    """Draw values roughly like those that training produces from an initial value of `first`.

    A scale that starts at one stays near it. A scale that starts near zero lets a residual branch
    in slowly and ends small. If it were drawn near one, each block would amplify the previous block's
    rounding errors, as no trained network does. A table of attention biases ends at a few units.
    """
    if first == 0.0 and values.ndim <= 1 and name in _SCALE_NAMES:
        values.uniform_(0.1, 0.5, generator=generator)
    elif first == 0.0:
        deviation = 1.0 if values.ndim > 1 and "bias" in name else 0.02
        values.normal_(0.0, deviation, generator=generator)
    elif abs(first) < 0.1:
        values.uniform_(0.05, 0.15, generator=generator)
    else:
        values.uniform_(0.5, 1.5, generator=generator)


@torch.no_grad()
def calibrate_batch_norms(module: nn.Module, batch: Call) -> None:
    """Set every batch norm's running statistics to those of `batch`, by one forward pass in train mode."""
    norms = [layer for layer in module.modules() if isinstance(layer, _BatchNorm) and layer.track_running_stats]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
        norm.train()
    batch.of(module)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
        norm.eval()


@torch.no_grad()
def equalise(module: nn.Module, batch: Call) -> None:
    """Scale every convolution and linear layer so that its outputs have unit variance, layer by layer.

    This is for networks without normalisation, whose scale would otherwise drift from layer to layer
    (layer-sequential unit variance: Mishkin and Matas, arXiv:1511.06422).
    """

    def rescale(layer: nn.Module, _: Any, output: Tensor) -> Tensor:
        scale = output.std().clamp_min(1e-6)
        for parameter in layer.parameters(recurse=False):
            parameter.div_(scale)
        return output / scale

    layers = [layer for layer in module.modules() if isinstance(layer, nn.Linear | nn.modules.conv._ConvNd)]
    with _hooked(layers, rescale):
        batch.of(module)


@torch.no_grad()
def check(module: nn.Module, batch: Call, *, name: str) -> None:
    """Run `module` once and reject weights that are not suitable for measurement.

    Raises
    ------
    ModelError
        If a parameter or any layer's output is not finite, is huge or contains subnormal
        numbers, or if the outputs are out of scale. The message names the layer and the fix.
    """
    faults: list[str] = [f"parameter {key} is not finite" for key, p in module.named_parameters() if not _finite(p)]
    names = {layer: key for key, layer in module.named_modules()}

    def inspect(layer: nn.Module, _: Any, output: Any) -> None:
        tensors = [t for t in flatten(output) if t.is_floating_point() and t.numel()]
        faults.extend(f"layer {names[layer]} {fault}" for t in tensors if (fault := _fault(t)))

    layers = [layer for layer in module.modules() if not list(layer.children())]
    with _hooked([layer for layer in layers if not isinstance(layer, torch.jit.ScriptModule)], inspect):
        outputs = flatten(batch.of(module))
    floats = [t for t in outputs if t.is_floating_point() and t.numel() > 1]
    scale = max((float(t.float().std()) for t in floats), default=1.0)
    if not SMALLEST_OUTPUT <= scale <= LARGEST_OUTPUT:
        faults.append(f"the outputs' standard deviation is {scale:.2g}")
    if faults:
        raise ModelError(
            f"the weights of '{name}' are not fit to be measured: {'; '.join(faults[:3])}. "
            "Set model.weights=random to have them drawn and calibrated, or another model.seed."
        )


def flatten(output: Any) -> tuple[Tensor, ...]:
    """Return a network's outputs in order, flattened from any tuples, lists, dicts and dataclasses."""
    if isinstance(output, Tensor):
        return (output,)
    if isinstance(output, dict):
        output = list(output.values())
    elif is_dataclass(output):
        output = [getattr(output, one.name) for one in fields(output)]
    return tuple(t for item in output for t in flatten(item)) if isinstance(output, list | tuple) else ()


def _finite(values: Tensor) -> bool:
    return bool(torch.isfinite(values).all())


def _fault(values: Tensor) -> str:
    if not _finite(values):
        return "gives values that are not finite"
    magnitude = values.abs()
    if float(magnitude.max()) > LARGEST_ACTIVATION:
        return f"gives values of {float(magnitude.max()):.2g}"
    smallest_normal = torch.finfo(values.dtype).smallest_normal
    subnormal = float(((magnitude > 0) & (magnitude < smallest_normal)).float().mean())
    return f"gives {subnormal:.1%} subnormal values" if subnormal > SUBNORMAL_SHARE else ""


@contextmanager
def _hooked(layers: Sequence[nn.Module], hook: Callable[..., Any]) -> Iterator[None]:
    handles = [layer.register_forward_hook(hook) for layer in layers]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
