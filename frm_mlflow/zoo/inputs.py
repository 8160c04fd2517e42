"""Arrays for a network's inputs: drawn at random in their shape, type and range, or read from a file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from frm_mlflow.config.inputs import BATCH, InputSpec, check_axes, input_specs, sized
from frm_mlflow.config.model import ModelConfig
from frm_mlflow.errors import ConfigError
from frm_mlflow.zoo.samples import images

Array = NDArray[Any]

_MOST_CHANNELS = 4


@dataclass(frozen=True)
class Input:
    """One input with a fixed shape and type; `largest` is the largest integer that the network accepts."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    spec: InputSpec
    largest: int | None = None


def axes_of(config: ModelConfig, *, batch_size: int) -> dict[str, int]:
    """Return the sizes of named axes, including the batch."""
    check_axes(config.axes)
    return {**config.axes, BATCH: batch_size}


def specs_of(config: ModelConfig) -> dict[str, InputSpec]:
    """Return the input specifications in `config` by input name."""
    return input_specs(config.inputs)


def inputs_of(config: ModelConfig, *, batch_size: int, largest: int | None = None) -> tuple[Input, ...]:
    """Return the inputs specified by `config.inputs`, for a network that does not define them itself.

    Raises
    ------
    ConfigError
        If an input has neither a shape nor a file.
    """
    axes = axes_of(config, batch_size=batch_size)
    inputs = []
    for name, spec in specs_of(config).items():
        array = None if spec.file is None else read(spec)
        if spec.shape is not None:
            shape = sized(spec.shape, axes, name=name)
        elif array is not None:
            shape = array.shape
        else:
            raise ConfigError(f"model.inputs.{name} needs a shape or a file, for example {{shape:[batch,16]}}")
        dtype = spec.dtype or ("float32" if array is None else np_name(array.dtype))
        inputs.append(Input(name, shape, dtype, spec, largest))
    return tuple(inputs)


def draw(inputs: Sequence[Input], *, rng: np.random.Generator) -> tuple[Array, ...]:
    """Return one array per input.

    Floats are drawn like `samples.images`, integers from 0 to the largest that the network accepts (1 if that
    is unknown, 255 for bytes). Integer masks are all ones. Booleans are drawn uniformly. A file is read as it is.
    """
    return tuple(_array(one, rng) for one in inputs)


def picture_side(shape: Sequence[int]) -> int | None:
    """Return the side in pixels of a batch of images, channels first or last; None for other inputs."""
    if len(shape) != 4:
        return None
    return int(shape[1] if shape[3] <= _MOST_CHANNELS < shape[1] else shape[3])


def np_name(dtype: np.dtype[Any]) -> str:
    """Return numpy's name of a dtype, or `str` for text."""
    return "str" if dtype.kind in "OUS" else str(dtype)


def _array(one: Input, rng: np.random.Generator) -> Array:
    spec = one.spec
    if spec.file is not None:
        return _fitted(read(spec), one)
    if one.dtype == "str":
        return np.char.mod("%d", rng.integers(0, 10, size=one.shape)).astype(str)
    kind = np.dtype(one.dtype).kind
    if kind == "b":
        return np.asarray(rng.random(one.shape) < 0.5)
    if kind in "iu":
        return _integers(one, rng)
    if spec.low is not None or spec.high is not None:
        low = 0.0 if spec.low is None else spec.low
        high = max(1.0, low) if spec.high is None else spec.high
        return np.asarray(rng.uniform(low, high, size=one.shape), dtype=one.dtype)
    if not one.shape:
        return np.ones((), dtype=one.dtype)
    return images(one.shape[0], one.shape[1:], rng=rng).astype(one.dtype)


def _integers(one: Input, rng: np.random.Generator) -> Array:
    spec = one.spec
    if spec.low is None and spec.high is None and "mask" in one.name.lower():
        return np.ones(one.shape, dtype=one.dtype)
    bytes_or_ids = 255 if one.dtype == "uint8" else 1
    low = 0 if spec.low is None else int(spec.low)
    high = int(spec.high) if spec.high is not None else (one.largest if one.largest is not None else bytes_or_ids)
    return rng.integers(low, max(low, high), size=one.shape, endpoint=True).astype(one.dtype)


def read(spec: InputSpec) -> Array:
    """Return the array in the input's file.

    Raises
    ------
    ConfigError
        If it was not written by `numpy.save` or `numpy.savez`, or has no array with the input's name.
    """
    path = Path(str(spec.file))
    where = f"model.inputs.{spec.name}.file"
    try:
        content = np.load(path, allow_pickle=False)
        if isinstance(content, np.ndarray):
            return content
        with content:
            names = content.files
            if spec.name not in names and len(names) != 1:
                raise ConfigError(f"{where}: '{path}' has no array '{spec.name}', it has {', '.join(names)}")
            return np.asarray(content[spec.name if spec.name in names else names[0]])
    except (OSError, ValueError) as error:
        raise ConfigError(f"{where}: '{path}' is not a file of numpy.save or numpy.savez: {error}") from error


def _fitted(array: Array, one: Input) -> Array:
    """Return the file's array in the input's dtype, with its rows repeated or truncated to the batch size."""
    if array.ndim == len(one.shape) and array.ndim and array.shape[0] and array.shape[1:] == one.shape[1:]:
        array = array[np.arange(one.shape[0]) % array.shape[0]]
    if array.shape != one.shape:
        raise ConfigError(f"model.inputs.{one.name}.file holds {list(array.shape)}, the input takes {list(one.shape)}")
    return array.astype(str) if one.dtype == "str" else array.astype(one.dtype)
