"""The inputs of a network: one specification per input, from `model.inputs`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from frm_mlflow.errors import ConfigError

BATCH = "batch"
"""Name of the axis whose size is the batch size."""
DTYPES = ("float32", "float64", "float16", "int64", "int32", "int16", "int8", "uint8", "bool", "str")
_KEYS = ("shape", "dtype", "low", "high", "file")
_EXAMPLE = "model.inputs={ids:{shape:[batch,128],dtype:int64,high:30000}}"


@dataclass(frozen=True)
class InputSpec:
    """One input. Fields that are None are derived from the model, as far as the model fixes them.

    `shape` is the full shape: integer sizes, `batch`, or names of `model.axes`. Values are drawn from `low` to
    `high`, both included, or read from `file` (`.npy`, or an `.npz` with an array of the input's name).
    """

    name: str
    shape: tuple[int | str, ...] | None = None
    dtype: str | None = None
    low: float | None = None
    high: float | None = None
    file: str | None = None


def input_specs(raw: Mapping[str, Any]) -> dict[str, InputSpec]:
    """Return the specifications in `model.inputs` by name; a bare list is a shape.

    Raises
    ------
    ConfigError
        If a key, shape, type or range is invalid; the message names the input.
    """
    return {str(name): _spec(str(name), content) for name, content in raw.items()}


def sized(shape: tuple[int | str, ...], axes: Mapping[str, int], *, name: str) -> tuple[int, ...]:
    """Return `shape` with its names replaced by their sizes in `axes`.

    Raises
    ------
    ConfigError
        For a name without a size.
    """
    missing = [axis for axis in shape if isinstance(axis, str) and axis not in axes]
    if missing:
        raise ConfigError(f"model.inputs.{name}: axis '{missing[0]}' has no size: set model.axes.{missing[0]}=SIZE")
    return tuple(axes[axis] if isinstance(axis, str) else axis for axis in shape)


def check_axes(axes: Mapping[str, Any]) -> None:
    """Reject sizes in `model.axes` that are not positive integers."""
    for name, size in axes.items():
        if not isinstance(size, int) or isinstance(size, bool) or size < 1:
            raise ConfigError(f"model.axes.{name} must be a positive integer, got {size!r}")


def _spec(name: str, content: Any) -> InputSpec:
    where = f"model.inputs.{name}"
    if isinstance(content, list | tuple):
        content = {"shape": content}
    if not isinstance(content, Mapping):
        raise ConfigError(
            f"{where} must be a shape or hold {', '.join(_KEYS)}, for example {_EXAMPLE}; got {content!r}"
        )
    unknown = sorted(set(content) - set(_KEYS))
    if unknown:
        raise ConfigError(f"{where} has no key '{unknown[0]}'; valid: {', '.join(_KEYS)}")
    dtype = content.get("dtype")
    if dtype is not None and dtype not in DTYPES:
        raise ConfigError(f"{where}.dtype must be one of {', '.join(DTYPES)}, got '{dtype}'")
    low, high = (_number(content.get(key), f"{where}.{key}") for key in ("low", "high"))
    if low is not None and high is not None and low > high:
        raise ConfigError(f"{where}: low ({low:g}) is above high ({high:g})")
    return InputSpec(name, _shape(content.get("shape"), where), dtype, low, high, content.get("file"))


def _shape(shape: Any, where: str) -> tuple[int | str, ...] | None:
    if shape is None:
        return None
    is_axis = [isinstance(a, str) or (isinstance(a, int) and not isinstance(a, bool) and a >= 0) for a in shape]
    if not isinstance(shape, list | tuple) or not all(is_axis):
        raise ConfigError(f"{where}.shape must list sizes, 'batch' or names of model.axes, got {shape!r}")
    return tuple(shape)


def _number(value: Any, where: str) -> float | None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
        raise ConfigError(f"{where} must be a number, got {value!r}")
    return value
