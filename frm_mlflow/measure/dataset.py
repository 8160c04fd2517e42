"""Labelled images for measured accuracy, from a folder, an `.npz` or a Hugging Face directory.

All problems with the images are detected before anything is measured.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from frm_mlflow.config import AccuracyConfig
from frm_mlflow.errors import ConfigError, MissingExtraError

IMAGE_SUFFIXES = {".bmp", ".jpeg", ".jpg", ".png", ".webp"}
SPLITS = ("validation", "val", "test")
"""Splits of a Hugging Face DatasetDict to look for, in this order."""

Reader = Callable[[Sequence[int]], NDArray[np.float32]]


@dataclass(frozen=True)
class LabelledImages:
    """Preprocessed images as float32 of shape (n, channels, height, width), and n class indices."""

    images: NDArray[np.float32]
    labels: NDArray[np.int64]
    name: str


def load(config: AccuracyConfig, *, shape: Sequence[int], n_classes: int) -> LabelledImages:
    """Return the sample of labelled images that `config` specifies.

    Parameters
    ----------
    shape
        Channels, height and width of the model's input.
    n_classes
        Number of classes that the model distinguishes.

    Raises
    ------
    ConfigError
        If the data is missing, empty, mislabelled or has the wrong size.
    MissingExtraError
        If reading it requires a package that is not installed.
    """
    path = Path(config.data or "")
    if config.data is None or not path.exists():
        raise ConfigError(f"accuracy.data: '{config.data}' does not exist")
    channels, height, width = shape
    if path.suffix == ".npz":
        labels, read = _npz(path, config, (channels, height, width))
    elif (path / "dataset_info.json").exists() or (path / "dataset_dict.json").exists():
        labels, read = _hugging_face(path, config, (height, width))
    else:
        labels, read = _folder(path, config, (height, width), n_classes=n_classes)
    _check_labels(labels, n_classes=n_classes, path=path)
    indices = np.random.default_rng(config.seed).permutation(len(labels))[: config.samples]
    images = read([int(index) for index in indices])
    return LabelledImages(images, labels[indices], path.name)


def _check_labels(labels: NDArray[np.int64], *, n_classes: int, path: Path) -> None:
    if len(labels) == 0:
        raise ConfigError(f"accuracy.data: {path} holds no labelled image")
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= n_classes:
        raise ConfigError(
            f"accuracy.data: labels of {path} go from {low} to {high}, and the model has classes 0 to {n_classes - 1}"
        )


def _npz(path: Path, config: AccuracyConfig, shape: tuple[int, int, int]) -> tuple[NDArray[np.int64], Reader]:
    with np.load(path, allow_pickle=False) as content:
        absent = {"images", "labels"} - set(content.files)
        if absent:
            raise ConfigError(f"accuracy.data: {path} has no array {' and '.join(sorted(absent))}")
        images, labels = content["images"], content["labels"]
    if labels.ndim != 1 or len(labels) != len(images) or labels.dtype.kind not in "iu":
        raise ConfigError(
            f"accuracy.data: {path} has labels {labels.dtype}{list(labels.shape)} for {len(images)} images: "
            "one class number an image is needed"
        )
    if images.dtype == np.uint8 and images.ndim == 4:
        return labels.astype(np.int64), lambda indices: np.stack(
            [_prepared(_pillow().fromarray(images[index].squeeze()), config, shape[1:]) for index in indices]
        )
    if images.dtype.kind != "f" or images.shape[1:] != shape:
        raise ConfigError(
            f"accuracy.data: {path} has images {images.dtype}{list(images.shape)}: needed are uint8 of shape "
            f"(n, height, width, channels), or normalised floats of shape (n, {', '.join(map(str, shape))})"
        )
    return labels.astype(np.int64), lambda indices: images[list(indices)].astype(np.float32)


def _folder(
    path: Path, config: AccuracyConfig, size: tuple[int, int], *, n_classes: int
) -> tuple[NDArray[np.int64], Reader]:
    classes = sorted(folder for folder in path.iterdir() if folder.is_dir()) if path.is_dir() else []
    if len(classes) != n_classes:
        raise ConfigError(
            f"accuracy.data: {path} has {len(classes)} class folders and the model has {n_classes} classes; "
            "the folders, sorted by name, must be the classes in order"
        )
    files = [
        (file, number)
        for number, folder in enumerate(classes)
        for file in sorted(folder.rglob("*"))
        if file.suffix.lower() in IMAGE_SUFFIXES
    ]

    def read(indices: Sequence[int]) -> NDArray[np.float32]:
        return np.stack([_prepared(_opened(files[index][0]), config, size) for index in indices])

    return np.array([number for _, number in files], dtype=np.int64), read


def _hugging_face(path: Path, config: AccuracyConfig, size: tuple[int, int]) -> tuple[NDArray[np.int64], Reader]:
    try:
        import datasets
    except ImportError as error:
        raise MissingExtraError("datasets", "accuracy", "reading a Hugging Face dataset") from error
    data: Any = datasets.load_from_disk(str(path))
    if isinstance(data, datasets.DatasetDict):
        split = next((name for name in SPLITS if name in data), None)
        if split is None:
            raise ConfigError(f"accuracy.data: {path} has none of the splits {', '.join(SPLITS)}")
        data = data[split]
    absent = {"image", "label"} - set(data.column_names)
    if absent:
        raise ConfigError(f"accuracy.data: {path} has no column {' and '.join(sorted(absent))}")
    labels = np.asarray(data["label"], dtype=np.int64)
    return labels, lambda indices: np.stack([_prepared(data[index]["image"], config, size) for index in indices])


def _prepared(image: Any, config: AccuracyConfig, size: tuple[int, int]) -> NDArray[np.float32]:
    """Resize the shorter side, crop the centre, scale and normalise: (channels, height, width)."""
    image = image.convert("RGB" if len(config.mean) == 3 else "L")
    height, width = size
    factor = max(height / config.crop / image.height, width / config.crop / image.width)
    image = image.resize((max(width, round(image.width * factor)), max(height, round(image.height * factor))))
    left, top = (image.width - width) // 2, (image.height - height) // 2
    pixels = np.asarray(image.crop((left, top, left + width, top + height)), dtype=np.float32) / 255
    pixels = pixels.reshape(height, width, len(config.mean))
    mean, std = np.array(config.mean, dtype=np.float32), np.array(config.std, dtype=np.float32)
    normalised = (pixels - mean) / std
    return np.ascontiguousarray(normalised.transpose(2, 0, 1), dtype=np.float32)


def _opened(path: Path) -> Any:
    try:
        return _pillow().open(path)
    except OSError as error:
        raise ConfigError(f"accuracy.data: {path} is not an image: {error}") from error


def _pillow() -> Any:
    try:
        from PIL import Image
    except ImportError as error:
        raise MissingExtraError("pillow", "accuracy", "reading images") from error
    return Image
