"""Captures the first call of a model in training, as the example to benchmark it with."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import mlflow
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from frm_mlflow.export.capture import unwrap
from frm_mlflow.export.flat import Call

LABELS = frozenset(("labels", "label", "label_ids", "num_items_in_batch"))
"""Keyword arguments that only a loss needs."""
_LIGHTNING = ("lightning", "pytorch_lightning")


class FirstCall:
    """Watches a module until its first call and keeps one sample of the arguments; `stop` ends this.

    It costs training one copy of a sample, and nothing from the second call on. A Lightning module may call its only
    network instead of itself; then `call` is a call of that network, and `model` is the network.

    Attributes
    ----------
    run_id
        The run that was active during the first call.
    """

    def __init__(self, model: nn.Module, *, ignored: Iterable[str] = LABELS, samples: int = 1) -> None:
        self.run_id: str | None = None
        self._calls: dict[nn.Module, Call] = {}
        self._ignored = frozenset(ignored)
        self._samples = samples
        self._module = unwrap(model)
        self._network = _only_network(self._module)
        watched = [self._module] if self._network is None else [self._module, self._network]
        self._handles = [part.register_forward_pre_hook(self._keep, with_kwargs=True) for part in watched]

    @property
    def call(self) -> Call | None:
        """The first call of the module, else of its only network; None if training called neither."""
        return self._calls.get(self._module) or (self._calls.get(self._network) if self._network else None)

    @property
    def model(self) -> nn.Module:
        """The model that `call` belongs to: the module, or its network if the module has no `forward` of its own."""
        if self._network is None or self._module in self._calls or self._network not in self._calls:
            return self._module
        forward = type(self._module).forward
        return self._network if forward.__module__.startswith(_LIGHTNING) else self._module

    def stop(self) -> None:
        """Remove the hooks from the module."""
        for handle in self._handles:
            handle.remove()

    def _keep(self, module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        if module in self._calls or _is_redirected(module):
            return
        if module is self._module:
            self.stop()
        active = mlflow.active_run()
        self.run_id = self.run_id or (active.info.run_id if active is not None else None)
        self._calls[module] = self._sample(args, kwargs)

    def _sample(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Call:
        named = {key: value for key, value in kwargs.items() if key not in self._ignored and value is not None}
        tensors = [leaf for leaf in pytree.tree_leaves((args, named)) if isinstance(leaf, Tensor) and leaf.ndim]
        batch = tensors[0].shape[0] if tensors else 0

        def sample(leaf: Any) -> Any:
            if not isinstance(leaf, Tensor):
                return leaf
            part = leaf[: self._samples] if leaf.ndim and leaf.shape[0] == batch else leaf
            return part.detach().clone()

        with torch.no_grad():
            args, named = pytree.tree_map(sample, (args, named))
        return Call(args, named)


def _is_redirected(module: nn.Module) -> bool:
    """Whether Lightning has replaced `forward` by a training step, as it does for DDP."""
    forward = module.__dict__.get("forward")
    return getattr(forward, "__qualname__", "").startswith("_ForwardRedirection")


def _only_network(module: nn.Module) -> nn.Module | None:
    """Return the only part of a Lightning module that has parameters, or None if there is not exactly one."""
    if not hasattr(module, "training_step"):
        return None
    parts = [part for part in module.children() if any(True for _ in part.parameters())]
    return parts[0] if len(parts) == 1 else None
