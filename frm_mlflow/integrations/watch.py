"""The first call that training makes of a model, kept as the example that it is benchmarked on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from frm_mlflow.export.capture import unwrap
from frm_mlflow.export.flat import Call

LABELS = frozenset(("labels", "label", "label_ids", "num_items_in_batch"))
"""Keyword arguments that only a loss needs."""


class FirstCall:
    """Watches a module until its first call and keeps one sample of the arguments; `stop` ends the watch.

    It costs training one copy of a sample and nothing from the second call on.
    """

    def __init__(self, model: nn.Module, *, ignored: Iterable[str] = LABELS, samples: int = 1) -> None:
        self.call: Call | None = None
        self._ignored = frozenset(ignored)
        self._samples = samples
        self._handle = unwrap(model).register_forward_pre_hook(self._keep, with_kwargs=True)

    def stop(self) -> None:
        """Take the watch off the module."""
        self._handle.remove()

    def _keep(self, _: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        self._handle.remove()
        wanted = {key: value for key, value in kwargs.items() if key not in self._ignored and value is not None}
        tensors = [leaf for leaf in pytree.tree_leaves((args, wanted)) if isinstance(leaf, Tensor) and leaf.ndim]
        batch = tensors[0].shape[0] if tensors else 0

        def sample(leaf: Any) -> Any:
            if not isinstance(leaf, Tensor):
                return leaf
            part = leaf[: self._samples] if leaf.ndim and leaf.shape[0] == batch else leaf
            return part.detach().clone()

        with torch.no_grad():
            args, wanted = pytree.tree_map(sample, (args, wanted))
        self.call = Call(args, wanted)
