"""`accuracy=measured`: images are checked before anything is timed and run through the timed exported model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from frm_mlflow import schema
from frm_mlflow.config import FILE_SOURCES, ModelConfig
from frm_mlflow.devices import Device, WorkerHost
from frm_mlflow.errors import ConfigError
from frm_mlflow.measure.accuracy import Accuracy, image_shape, measure_accuracy
from frm_mlflow.measure.dataset import LabelledImages, load
from frm_mlflow.sweep.plan import BenchmarkPlan
from frm_mlflow.worker.manifest import ExportedModel

REFERENCE_PRECISION = "fp32"


@dataclass(frozen=True)
class MeasuredAccuracy:
    """Accuracy of the timed exported model and, in precisions other than fp32, the loss relative to fp32."""

    accuracy: Accuracy
    reference: Accuracy | None
    source: str

    def metrics(self) -> dict[str, float]:
        """Return the metrics to log to a run."""
        metrics = self.accuracy.metrics()
        if self.reference is not None:
            metrics[schema.TOP1_DROP.key] = self.reference.top1.percent - self.accuracy.top1.percent
        return metrics


def has_own_weights(model: ModelConfig) -> bool:
    """Return whether the model has its own weights; the zoo's are random and have no meaningful accuracy."""
    by_default = "own" if model.source == "target" or model.source in FILE_SOURCES else "random"
    return (model.weights or by_default) == "own"


def images_for(plan: BenchmarkPlan, exported_model: Path) -> LabelledImages | None:
    """Return the images for measuring the plan's accuracy; None if the published one is used.

    Raises
    ------
    ConfigError
        If the images do not fit the model, or the model's weights are random.
    """
    config = plan.settings.accuracy
    if config.mode == "published" or (plan.is_baseline and not has_own_weights(plan.settings.model)):
        return None
    if not has_own_weights(plan.settings.model):
        raise ConfigError(
            f"accuracy=measured needs trained weights, and those of '{plan.settings.model.name}' are random: "
            "use model=target, onnx or pt2, or accuracy=published"
        )
    manifest = ExportedModel.read(exported_model)
    return load(config, shape=image_shape(manifest), n_classes=manifest.outputs[0].shape[-1])


def measured(
    plan: BenchmarkPlan,
    exported_model: Path,
    data: LabelledImages,
    *,
    host: WorkerHost,
    device: Device,
    in_fp32: Callable[[], Path],
) -> MeasuredAccuracy:
    """Return the accuracy of `exported_model` on `data`; `in_fp32` exports the model in fp32 for the comparison."""
    settings = plan.settings

    def accuracy_of(directory: Path) -> Accuracy:
        return measure_accuracy(
            directory, data, host=host, device=device, runtime=settings.runtime, timeout_s=settings.measure.timeout_s
        )

    is_reference = ExportedModel.read(exported_model).precision == REFERENCE_PRECISION
    return MeasuredAccuracy(
        accuracy_of(exported_model),
        None if is_reference else accuracy_of(in_fp32()),
        f"measured on {len(data.labels)} images of {data.name} (seed {settings.accuracy.seed})",
    )
