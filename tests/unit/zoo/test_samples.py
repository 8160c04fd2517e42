"""Random inputs have the documented statistics."""

from __future__ import annotations

import numpy as np
import pytest

from frm_mlflow.zoo.samples import RANGE, images


def rng():
    return np.random.default_rng(7)


def test_images_are_reproducible_float32_in_range():
    first, second = (images(3, (3, 64, 64), rng=rng()) for _ in range(2))
    assert first.dtype == np.float32
    assert first.shape == (3, 3, 64, 64)
    assert np.array_equal(first, second)
    assert first.min() >= RANGE[0]
    assert first.max() <= RANGE[1]


def test_amplitude_falls_with_one_over_the_frequency():
    pictures = images(64, (1, 64, 64), rng=rng())
    power = (np.abs(np.fft.rfft(pictures, axis=-1)) ** 2).mean(axis=(0, 1, 2))
    frequencies = np.arange(4, 24)
    slope, _ = np.polyfit(np.log(frequencies), np.log(power[frequencies]), 1)
    # A field with 1/f amplitude in two dimensions has rows with power 1/f.
    assert slope == pytest.approx(-1, abs=0.35)


def test_samples_differ_after_averaging():
    means = images(32, (3, 64, 64), rng=rng()).mean(axis=(-2, -1))
    assert means.std() > 0.2


def test_a_vector_is_standard_normal():
    vector = images(100, (50,), rng=rng())
    assert vector.mean() == pytest.approx(0, abs=0.05)
    assert vector.std() == pytest.approx(1, abs=0.05)
