"""One call of a module: its arguments, with any nesting."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from inspect import Parameter, signature
from typing import Any

from torch import nn


@dataclass(frozen=True)
class Call:
    """Positional and keyword arguments of one call of a module."""

    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)

    def of(self, module: nn.Module) -> Any:
        """Call the module and return its output."""
        return module(*self.args, **self.kwargs)


def calls_of(module: nn.Module, example: Any) -> tuple[Call, ...]:
    """Return the calls that `example` may represent, the most likely first.

    A tuple or list contains the arguments, or is itself the only argument (a detector takes a list of images). A
    mapping contains keyword arguments if its keys are parameters of `forward`, and is the only argument otherwise.
    """
    if isinstance(example, Call):
        return (example,)
    if isinstance(example, Mapping):
        parameters = signature(module.forward).parameters
        open_ended = any(p.kind is Parameter.VAR_KEYWORD for p in parameters.values())
        if open_ended or set(example) <= set(parameters):
            return (Call(kwargs=dict(example)),)
        return (Call((dict(example),)),)
    if isinstance(example, tuple | list):
        return (Call(tuple(example)), Call((example,)))
    return (Call((example,)),)
