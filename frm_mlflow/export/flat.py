"""Any call of a module as one row of tensors in and one row of tensors out, which is all that a runtime knows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree


@dataclass(frozen=True)
class Call:
    """Positional and keyword arguments of one call of a module."""

    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)


class Flat(nn.Module):
    """A module whose arguments and results, however nested, are rows of tensors.

    The tensors of the example call become the inputs, in the order in which torch flattens them;
    what is no tensor in it (a flag, None) is kept as it is. The module itself is not changed, and
    `train` and `eval` pass it by: an exported graph knows one mode only, and a user's module keeps
    the one that it is in.
    """

    def __init__(self, module: nn.Module, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None) -> None:
        super().__init__()
        self.module = module
        leaves, self._structure = pytree.tree_flatten((tuple(args), dict(kwargs or {})))
        self._constants = [None if isinstance(leaf, Tensor) else (leaf,) for leaf in leaves]
        self.example: tuple[Tensor, ...] = tuple(leaf.detach() for leaf in leaves if isinstance(leaf, Tensor))

    @property
    def is_positional(self) -> bool:
        """Whether the example's arguments are tensors and nothing else, as a captured program's are."""
        return all(c is None for c in self._constants) and self._structure == _row(len(self._constants))

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """Call the module as the example did, with these tensors."""
        rest = iter(tensors)
        leaves = [next(rest) if constant is None else constant[0] for constant in self._constants]
        args, kwargs = pytree.tree_unflatten(leaves, self._structure)
        results = pytree.tree_leaves(self.module(*args, **kwargs))
        return tuple(result for result in results if isinstance(result, Tensor))

    def train(self, mode: bool = True) -> Flat:  # noqa: ARG002 - torch's signature
        """Leave the module in the mode that it is in."""
        return self


def _row(length: int) -> Any:
    return pytree.tree_structure((tuple(range(length)), {}))


def with_batch(tensors: Sequence[Tensor], batch_size: int | None) -> tuple[Tensor, ...]:
    """Return the tensors with `batch_size` samples: the first ones, repeated where there are fewer.

    The first axis of the first tensor is the batch; tensors with another first axis stay as they
    are, and with None all do.
    """
    if batch_size is None or not tensors or tensors[0].ndim == 0:
        return tuple(tensors)
    found = tensors[0].shape[0]
    rows = torch.arange(batch_size) % max(found, 1)
    return tuple(t[rows.to(t.device)] if t.ndim and t.shape[0] == found else t for t in tensors)
