"""Measured accuracy: the same exported model that is timed, on the same runtime, over labelled images."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import binomtest

from frm_mlflow import schema
from frm_mlflow.config import RuntimeConfig
from frm_mlflow.devices import Device, WorkerHost
from frm_mlflow.errors import ConfigError
from frm_mlflow.measure.dataset import LabelledImages
from frm_mlflow.measure.participant import Participant
from frm_mlflow.worker.manifest import ExportedModel

CALLS_AT_ONCE = 32
"""Number of calls per request to the worker, which limits the size of the file with their inputs."""


@dataclass(frozen=True)
class Share:
    """Percentage of correct answers, with its exact binomial interval (Clopper-Pearson)."""

    percent: float
    low: float
    high: float


@dataclass(frozen=True)
class Accuracy:
    """Top-1 and top-5 over `n` images; top-5 is None for fewer than six classes."""

    top1: Share
    top5: Share | None
    n: int
    is_right: NDArray[np.bool_]
    """Whether each image's top-1 answer is correct, for paired comparisons."""

    def metrics(self) -> dict[str, float]:
        """Return the metrics to log to a run."""
        facts = {
            schema.TOP1.key: self.top1.percent,
            schema.TOP1_LOW.key: self.top1.low,
            schema.TOP1_HIGH.key: self.top1.high,
            schema.ACCURACY_SAMPLES.key: float(self.n),
        }
        return facts if self.top5 is None else facts | {schema.TOP5.key: self.top5.percent}


def score(outputs: ArrayLike, labels: ArrayLike, *, confidence: float = 0.95) -> Accuracy:
    """Return the accuracy of `outputs` (images x classes) against `labels` (images).

    A tie counts as correct only for the first of the tied classes, as with argmax.

    Examples
    --------
    >>> score([[0.1, 0.9], [0.8, 0.2]], [1, 1]).top1.percent
    50.0
    """
    scores, truth = np.asarray(outputs, dtype=np.float64), np.asarray(labels)
    order = np.argsort(-scores, axis=1, kind="stable")
    is_right = order[:, 0] == truth
    among_five = (order[:, :5] == truth[:, None]).any(axis=1)
    top5 = _share(among_five, confidence) if scores.shape[1] > 5 else None
    return Accuracy(_share(is_right, confidence), top5, len(truth), is_right)


def measure_accuracy(
    exported_model: Path,
    data: LabelledImages,
    *,
    host: WorkerHost,
    device: Device,
    runtime: RuntimeConfig,
    timeout_s: float,
) -> Accuracy:
    """Run every image of `data` through `exported_model` in a separate worker on `host` and return the accuracy.

    Raises
    ------
    WorkerError
        If the worker fails.
    """
    threads = runtime.threads or host.hardware.physical_cores
    with closing(host.open_worker("accuracy", threads=threads)) as worker, TemporaryDirectory() as scratch:
        participant = Participant("accuracy", exported_model, timeout_s)
        participant.launch(worker)
        participant.load(device=device, runtime=runtime, threads=threads)
        batch = participant.manifest.inputs[0].shape[0]
        inputs, outputs = Path(scratch) / "inputs.npz", Path(scratch) / "outputs.npz"
        answers = []
        for calls in _calls(data.images, batch):
            np.savez(inputs, input_0=calls)
            worker.request("predict", timeout_s=timeout_s, inputs=str(inputs), outputs=str(outputs))
            with np.load(outputs, allow_pickle=False) as content:
                answers.append(content["output_0"].reshape(-1, content["output_0"].shape[-1]))
    return score(np.concatenate(answers)[: len(data.labels)], data.labels)


def image_shape(exported_model: ExportedModel) -> tuple[int, int, int]:
    """Return the channels, height and width of an image classifier's input.

    Raises
    ------
    ConfigError
        If the model's input is anything but one batch of images.
    """
    if len(exported_model.inputs) != 1 or len(exported_model.inputs[0].shape) != 4:
        raise ConfigError(
            f"accuracy=measured needs a model of images; '{exported_model.model}' takes {exported_model.inputs}"
        )
    _, channels, height, width = exported_model.inputs[0].shape
    return channels, height, width


def _share(hits: NDArray[np.bool_], confidence: float) -> Share:
    interval = binomtest(int(hits.sum()), len(hits)).proportion_ci(confidence_level=confidence, method="exact")
    return Share(100 * float(hits.mean()), 100 * float(interval.low), 100 * float(interval.high))


def _calls(images: NDArray[np.float32], batch: int) -> Iterator[NDArray[np.float32]]:
    """Yield arrays of calls x batch x image; the last call is padded with copies of the last image."""
    n_calls = math.ceil(len(images) / batch)
    short = n_calls * batch - len(images)
    filled = np.concatenate([images, np.repeat(images[-1:], short, axis=0)])
    calls = filled.reshape(n_calls, batch, *images.shape[1:])
    for start in range(0, n_calls, CALLS_AT_ONCE):
        yield calls[start : start + CALLS_AT_ONCE]
