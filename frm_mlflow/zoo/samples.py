"""Generates inputs that resemble normalised photographs to a network, so that none need to be downloaded."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

REFERENCE_SEED = 20_240_229
"""Seed of the input on which every runtime is compared with the reference."""
RANGE = (-2.2, 2.7)
"""Lowest and highest value of a pixel under ImageNet's normalisation, rounded outwards."""


def images(count: int, shape: tuple[int, ...], *, rng: np.random.Generator) -> NDArray[np.float32]:
    """Draw `count` samples of the given shape with the spectrum of natural images.

    White noise looks the same to a network after the first pooling, whatever the sample. The
    amplitude of photographs is inversely proportional to the spatial frequency. Samples without
    two spatial axes are drawn from the standard normal distribution.

    Returns
    -------
    array of shape (count, *shape)
        Zero mean and unit variance in each channel, clipped to `RANGE`.
    """
    white = rng.standard_normal((count, *shape))
    if len(shape) < 3:
        return white.astype(np.float32)
    spectrum = np.fft.rfft2(white) / _frequencies(*shape[-2:])
    pictures = np.fft.irfft2(spectrum, s=shape[-2:])
    pictures -= pictures.mean(axis=(-2, -1), keepdims=True)
    pictures /= pictures.std(axis=(-2, -1), keepdims=True) + math.ulp(1.0)
    levels = rng.normal(0.0, 0.5, size=(count, *shape[:-2], 1, 1))
    return np.clip(pictures + levels, *RANGE).astype(np.float32)


def _frequencies(height: int, width: int) -> NDArray[np.float64]:
    """Return the distance from the origin of every coefficient of `rfft2`, at least one cycle per image."""
    rows = np.fft.fftfreq(height, d=1 / height)[:, None]
    columns = np.fft.rfftfreq(width, d=1 / width)[None, :]
    distance: NDArray[np.float64] = np.maximum(np.hypot(rows, columns), 1.0)
    return distance
