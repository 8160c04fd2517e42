"""Any call of a module as a flat list of tensors in and out, which is all that runtimes support."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from frm_mlflow.errors import ExportError
from frm_mlflow.zoo.call import Call
from frm_mlflow.zoo.fit import flatten

__all__ = ["Call", "Flat", "described", "with_batch"]


class Flat(nn.Module):
    """A module whose arguments and results, however nested, are flat lists of tensors.

    The tensors of the example call become the inputs, in the order in which torch flattens them.
    Other values (a flag, None) are kept as they are. The module itself is not changed, and
    `train` and `eval` do not reach it: an exported graph has only one mode, and the user's module
    stays in its current mode.
    """

    def __init__(self, module: nn.Module, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None) -> None:
        super().__init__()
        self.module = module
        leaves, self._structure = pytree.tree_flatten((tuple(args), dict(kwargs or {})))
        self._constants = [None if isinstance(leaf, Tensor) else (leaf,) for leaf in leaves]
        self.example: tuple[Tensor, ...] = tuple(leaf.detach() for leaf in leaves if isinstance(leaf, Tensor))

    @property
    def is_positional(self) -> bool:
        """Whether the example's arguments are only tensors, like those of a captured program."""
        return all(c is None for c in self._constants) and self._structure == _row(len(self._constants))

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """Call the module like the example, with these tensors."""
        args, kwargs = self.call_with(tensors)
        return flatten(self.module(*args, **kwargs))

    def call_with(self, tensors: Sequence[Tensor]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return the arguments of the example call with its tensors replaced by these."""
        rest = iter(tensors)
        leaves = [next(rest) if constant is None else constant[0] for constant in self._constants]
        args, kwargs = pytree.tree_unflatten(leaves, self._structure)
        return args, kwargs

    def train(self, mode: bool = True) -> Flat:  # noqa: ARG002 - torch's signature
        """Leave the module in its current mode."""
        return self


def _row(length: int) -> Any:
    return pytree.tree_structure((tuple(range(length)), {}))


def described(args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Return the structure of a call as plain data: each tensor by its index, other values as they are.

    Raises
    ------
    ExportError
        For an argument that plain data cannot describe.
    """
    places = iter(range(len(pytree.tree_leaves((tuple(args), dict(kwargs))))))
    return {"args": [_form(arg, places) for arg in args], "kwargs": {k: _form(v, places) for k, v in kwargs.items()}}


def _form(value: Any, places: Any) -> Any:
    if isinstance(value, Tensor):
        return {"tensor": next(places)}
    if type(value) in (list, tuple):
        return {type(value).__name__: [_form(item, places) for item in value]}
    if isinstance(value, Mapping):
        return {"dict": [[key, _form(item, places)] for key, item in value.items()]}
    if value is None or isinstance(value, bool | int | float | str):
        return {"value": value}
    raise ExportError(
        f"an argument of type {type(value).__name__} cannot be handed to a worker: use lists, tuples and dicts"
    )


def with_batch(tensors: Sequence[Tensor], batch_size: int | None) -> tuple[Tensor, ...]:
    """Return the tensors with `batch_size` samples: the first ones, repeated if there are fewer.

    The first axis of the first tensor is the batch. In the others, the batch is the first axis if it has the same
    size, else the second (the state of a recurrent network). Other tensors and scalars stay as they are. With None,
    nothing changes.
    """
    if batch_size is None or not tensors or tensors[0].ndim == 0:
        return tuple(tensors)
    size = tensors[0].shape[0]
    if size == batch_size:
        return tuple(tensors)
    rows = torch.arange(batch_size) % max(size, 1)
    return tuple(_resized(tensor, size, rows) for tensor in tensors)


def _resized(tensor: Tensor, size: int, rows: Tensor) -> Tensor:
    axis = next((axis for axis in (0, 1) if axis < tensor.ndim and tensor.shape[axis] == size), None)
    return tensor if axis is None else tensor.index_select(axis, rows.to(tensor.device))
