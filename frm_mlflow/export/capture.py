"""Write a live torch module, as training left it, to a `.pt2` file: its graph and weights, no pickled class.

The module is not changed: mode, device, gradients, parameters and torch's random state stay as they are.
"""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.export.passes import move_to_device_pass

from frm_mlflow.errors import ConfigError, ExportError
from frm_mlflow.export import live_file
from frm_mlflow.export.flat import Flat, with_batch
from frm_mlflow.worker.identity import agreement
from frm_mlflow.zoo.call import Call, calls_of

LEAST_COSINE = 0.999
"""Minimum cosine similarity of the graph's and the module's outputs; below it, they are different functions."""
_WRAPPERS = {
    "DistributedDataParallel": "module",
    "DataParallel": "module",
    "OptimizedModule": "_orig_mod",
    "_FabricModule": "_original_module",
}
"""Wrapper classes (DDP, torch.compile, Lightning Fabric) and the attribute in which each holds the module."""


@dataclass(frozen=True)
class Captured:
    """A module's exported program on disk, and the number of samples in its example inputs."""

    path: Path
    batch_size: int


def capture(model: nn.Module, example: Any, directory: Path, *, batch_size: int | None = 1) -> Captured:
    """Trace `model` in eval mode on `example` with `torch.export` and write the program to `directory`.

    Parameters
    ----------
    model
        On any device, in any mode, with or without a DDP or `torch.compile` wrapper.
    example
        Arguments of one call: a tensor or array, a tuple or list of arguments, or a mapping of
        keyword arguments (a mapping whose keys are not parameters of `forward` is one argument).
    Use a `Call` if both kinds are needed.
    batch_size
        Number of samples that the program takes, from the start of the example; None keeps them all.

    Raises
    ------
    ConfigError
        If the example cannot be interpreted as a call of the model, or the model has no data.
    ExportError
        If torch cannot export the module, or the program's outputs differ from the module's.
    """
    module = unwrap(model)
    device = _device_of(module)
    call = as_call(module, example)
    flat = Flat(module, *_placed((call.args, dict(call.kwargs)), device))
    if not flat.example:
        raise ConfigError("the example input holds no tensor: give one call's arguments, such as torch.zeros(1, 3, 8)")
    inputs = flat.example if holds_lists(call) else with_batch(flat.example, batch_size)
    with undisturbed(module), torch.no_grad():
        program, outputs = _export(flat, inputs, name=type(module).__name__)
        path = directory / "model.pt2"
        torch.export.save(program, path)
        _check(path, inputs, outputs, name=type(module).__name__)
    return Captured(path, inputs[0].shape[0] if inputs[0].ndim else 1)


def pickle_live(model: nn.Module, example: Any, path: Path, *, batch_size: int | None = 1) -> None:
    """Pickle `model` and one example call to `path`, for eager torch; the model itself is not changed.

    Raises
    ------
    ConfigError
        If the example is not a valid call of the model.
    ExportError
        If the module cannot be pickled.
    """
    module = unwrap(model)
    device = _device_of(module)
    call = as_call(module, example)
    flat = Flat(module, *_placed((call.args, dict(call.kwargs)), device))
    args, kwargs = flat.call_with(flat.example if holds_lists(call) else with_batch(flat.example, batch_size))
    with undisturbed(module), torch.no_grad():
        try:
            module(*args, **kwargs)
        except Exception as error:  # a user's module may raise anything
            raise _unfit_example(module, error) from error
        live_file.save(module, Call(*live_file.on_cpu((tuple(args), dict(kwargs)))), path)


def unwrap(model: nn.Module) -> nn.Module:
    """Return the user's module from inside DDP, DataParallel, `torch.compile` and Fabric, nested in any order."""
    while (attribute := _WRAPPERS.get(type(model).__name__)) is not None:
        model = getattr(model, attribute)
    return model


def as_call(module: nn.Module, example: Any) -> Call:
    """Return the call of `module` that `example` describes: of several interpretations, the first that runs.

    Raises
    ------
    ConfigError
        If there is no example.
    """
    if example is None:
        raise ConfigError("there is no example input: pass one call's arguments, such as torch.zeros(1, 3, 224, 224)")
    device = _device_of(module)
    calls = calls_of(module, example)
    if len(calls) == 1:
        return calls[0]
    for call in calls:
        args, kwargs = _placed((call.args, dict(call.kwargs)), device)
        try:
            with undisturbed(module), torch.no_grad():
                module(*args, **kwargs)
        except Exception:  # noqa: S112 - try the next interpretation; if none runs, the export names the first error
            continue
        return call
    return calls[0]


def _placed(call: tuple[tuple[Any, ...], dict[str, Any]], device: torch.device) -> Any:
    """Return the call with every array as a tensor on the module's device."""

    def place(leaf: Any) -> Any:
        if hasattr(leaf, "to_numpy"):  # a pandas table
            leaf = leaf.to_numpy(np.float32)
        if isinstance(leaf, np.ndarray | np.generic):
            leaf = torch.from_numpy(np.array(leaf))
            leaf = leaf.float() if leaf.dtype == torch.float64 else leaf
        return leaf.detach().to(device) if isinstance(leaf, Tensor) else leaf

    return torch.utils._pytree.tree_map(place, call)


def _device_of(module: nn.Module) -> torch.device:
    if not isinstance(module, nn.Module) or isinstance(module, torch.jit.ScriptModule):
        kind = type(module).__name__
        raise ConfigError(f"a torch.nn.Module is needed, not {kind}: pass the module that it was made from")
    tensors = [*module.parameters(), *module.buffers()]
    if any(t.is_meta for t in tensors):
        raise ConfigError("the model is on the meta device and has no weights: load them before it is benchmarked")
    other = {str(t.dtype) for t in tensors if t.is_floating_point()} - {"torch.float32"}
    if other:
        raise ConfigError(f"the model holds {', '.join(sorted(other))}; fp32 is measured: pass model.float()")
    return tensors[0].device if tensors else torch.device("cpu")


@contextmanager
def undisturbed(module: nn.Module) -> Iterator[None]:
    """Switch every submodule to eval mode, then restore its mode; leave torch's random state unchanged."""
    modes = [(part, part.training) for part in module.modules()]
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_initialized() else []  # type: ignore[no-untyped-call]
    with torch.random.fork_rng(devices=devices):
        module.eval()
        try:
            yield
        finally:
            for part, mode in modes:
                part.training = mode


def _export(flat: Flat, inputs: tuple[Tensor, ...], *, name: str) -> tuple[Any, tuple[Tensor, ...]]:
    """Return the module's program on the CPU, and the outputs of the module itself."""
    try:
        outputs = flat(*inputs)
    except Exception as error:  # a user's module may raise anything
        raise _unfit_example(flat.module, error) from error
    try:
        with _quiet():
            program = torch.export.export(flat, inputs)
    except Exception as error:  # tracing runs the user's module
        raise ExportError(
            f"torch.export cannot trace {name}: {_one_line(error)}. Avoid control flow that depends on the data, or "
            "benchmark it from its code: frm-mlflow bench model=target model.target=module:factory runtime=torch"
        ) from error
    if inputs[0].device.type != "cpu":
        program = move_to_device_pass(program, "cpu")
    return program, outputs


def _unfit_example(module: Any, error: Exception) -> ConfigError:
    return ConfigError(
        f"{type(module).__name__} fails on the example input: {type(error).__name__}: {_one_line(error)}. "
        "Pass the arguments of one call: a tensor, a tuple of arguments or a dict of keyword arguments."
    )


def holds_lists(call: Call) -> bool:
    """Whether an argument is a list, such as a detector's images: the list is the batch and is kept as it is."""
    return any(isinstance(argument, list) for argument in (*call.args, *call.kwargs.values()))


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep torch from printing and logging whole graphs; our error names in one sentence what it could not trace."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _check(path: Path, inputs: tuple[Tensor, ...], outputs: tuple[Tensor, ...], *, name: str) -> None:
    again = torch.export.load(path).module()(*(t.cpu() for t in inputs))
    similarity = agreement([t.cpu().numpy() for t in again], [t.cpu().numpy() for t in outputs])
    if not similarity.cosine >= LEAST_COSINE:
        raise ExportError(
            f"the graph of {name} computes something else than {name} (cosine {similarity.cosine:.4f}): it draws "
            "random numbers in eval mode, or depends on something outside of its inputs"
        )


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
