"""Calibration data for static quantisation: the user's images, or random ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from frm_mlflow.errors import ConfigError, ExportError
from frm_mlflow.export.subject import Subject
from frm_mlflow.zoo.samples import images

CALIBRATION_SEED = 20_240_301


def calibration_batches(subject: Subject) -> list[NDArray[np.float32]]:
    """Return full batches in the network's input shape, at least one.

    Raises
    ------
    ConfigError
        If the file has no array `images`, or its shape is wrong, or it has too few samples.
    ExportError
        For a network with several inputs, or with an input that is not floating point.
    """
    if [spec.dtype for spec in subject.built.inputs] != ["float32"]:
        raise ExportError(f"'{subject.built.name}' has no single float input: static int8 cannot be calibrated")
    batch, *shape = subject.built.inputs[0].shape
    n_samples = max(subject.precision.calibration_samples, batch)
    if subject.precision.calibration:
        samples = _read(Path(subject.precision.calibration), tuple(shape))[:n_samples]
    else:
        samples = images(n_samples, tuple(shape), rng=np.random.default_rng(CALIBRATION_SEED))
    if len(samples) < batch:
        raise ConfigError(f"precision.calibration holds {len(samples)} samples, one batch needs {batch}")
    return np.split(samples[: len(samples) // batch * batch], len(samples) // batch)


def _read(path: Path, shape: tuple[int, ...]) -> NDArray[np.float32]:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            samples = arrays["images"]
    except (OSError, ValueError, KeyError) as error:
        raise ConfigError(f"precision.calibration: '{path}' is no .npz with an array 'images': {error}") from error
    if samples.shape[1:] != shape or samples.dtype.kind != "f":
        raise ConfigError(
            f"precision.calibration: 'images' must be floats of shape N x {' x '.join(map(str, shape))}, "
            f"got {samples.dtype} {samples.shape}"
        )
    normalised: NDArray[np.float32] = samples.astype(np.float32)
    return normalised
