"""Converts a measurement to the record that is logged: ratios, FRM, accuracy and the data behind them."""

from __future__ import annotations

import math
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from frm_mlflow import schema
from frm_mlflow.analysis.frm import frm, frm_interval, ratio
from frm_mlflow.analysis.interval import Interval
from frm_mlflow.config import ModelConfig
from frm_mlflow.devices import Device
from frm_mlflow.measure import Measurement
from frm_mlflow.records import BenchmarkRecord, Configuration, content_hash
from frm_mlflow.sweep.accuracy import MeasuredAccuracy
from frm_mlflow.sweep.plan import LIBRARIES, OF_THE_SWEEP, BenchmarkPlan
from frm_mlflow.tracking.run_files import flat_params
from frm_mlflow.worker.manifest import ExportedModel, TensorSpec
from frm_mlflow.zoo.catalogue import facts_for, family_of

COST_FACTS = {
    schema.GMACS: "gmacs",
    schema.EFFECTIVE_GMACS: "effective_gmacs",
    schema.WEIGHT_SPARSITY: "weight_sparsity",
    schema.PARAMS_M: "params_m",
    schema.ACTIVATIONS_M: "activations_m",
}
"""Maps each metric to the exporter's count that it reports."""


_RATIO_RANGES = (
    (schema.RATIO_LATENCY, schema.RATIO_LATENCY_LOW, schema.RATIO_LATENCY_HIGH),
    (schema.RATIO_MEMORY, schema.RATIO_MEMORY_LOW, schema.RATIO_MEMORY_HIGH),
)
LONGEST_RESOLUTION = 80
"""Maximum length of the input shapes in a configuration; longer ones are truncated and end in their hash."""
DEFAULT_SIDE = 224
NOT_OF_ONE_BENCHMARK = ("models", "runtimes", "precisions", *OF_THE_SWEEP)
"""Settings that belong to the sweep, not to a single benchmark."""


@dataclass(frozen=True)
class Measured:
    """One finished measurement with the exported models that it ran."""

    measurement: Measurement
    exported_model: ExportedModel
    baseline: ExportedModel | None
    start_time: datetime
    end_time: datetime
    accuracy: MeasuredAccuracy | None = None
    """None if the published accuracy is used."""


def configuration_of(
    plan: BenchmarkPlan, device: Device, *, precision: str, version: str = "", inputs: Sequence[TensorSpec] = ()
) -> Configuration:
    """Return the configuration that `plan` runs on; `precision` and `inputs` are the ones actually used."""
    settings = plan.settings
    return Configuration(
        device=device.name,
        tier=device.tier,
        runtime=settings.runtime.name,
        precision=precision,
        batch_size=settings.batch_size,
        compute_unit=device.compute_unit,
        chip=device.chip,
        runtime_version=version,
        resolution=resolution_of(settings.model, inputs, batch_size=settings.batch_size),
    )


def record_of(plan: BenchmarkPlan, device: Device, measured: Measured) -> BenchmarkRecord:
    """Return the record of one measured benchmark.

    Ratios to the baseline and FRM are present only if the baseline was measured with it.
    """
    model = plan.settings.model
    version = measured.measurement.runtime_version
    placed = measured.measurement.placed
    precision = measured.exported_model.precision if placed is None else placed.precision
    unit = device.compute_unit if placed is None else placed.unit
    inputs = measured.exported_model.inputs
    planned = configuration_of(plan, device, precision=precision, version=version, inputs=inputs)
    configuration = replace(planned, compute_unit=unit)
    has_baseline = plan.is_baseline or measured.baseline is not None
    return BenchmarkRecord(
        model=model.name,
        family=family_of(model),
        configuration=configuration,
        metrics=_metrics(model, measured, with_ratios=has_baseline),
        source=schema.SOURCE_MEASURED,
        identity={"measurement": uuid.uuid4().hex},
        start_time=measured.start_time,
        end_time=measured.end_time,
        baseline=plan.baseline.name if has_baseline else "",
        tags=_tags(plan, device, measured, has_baseline=has_baseline),
        params=flat_params({key: value for key, value in plan.resolved.items() if key not in NOT_OF_ONE_BENCHMARK}),
    )


def resolution_of(model: ModelConfig, inputs: Sequence[TensorSpec] = (), *, batch_size: int = 1) -> str:
    """Return the model's input: `native`, the side of an image in pixels, or the shape of one sample.

    The input is native if a library's network has its default size or a user's takes images of 224 pixels, the default.
    Any other input of a user's network is spelled out, such as the length of a sequence: `1x16000`, or
    `ids=128,mask=128` for several inputs. An input without a batch axis, such as an image in the list of images that a
    detector takes, is one sample as it is.
    """
    if model.input_size is not None:
        return str(model.input_size)
    if model.source in LIBRARIES or not inputs:
        shape = model.input_shape or ()
        return _one_size(shape, model) if shape else "native"
    shapes = [_sample(spec.shape, batch_size) for spec in inputs]
    if len(inputs) == 1:
        return _one_size(shapes[0], model)
    text = ",".join(f"{spec.name}={_product(shape)}" for spec, shape in zip(inputs, shapes, strict=True))
    return text if len(text) <= LONGEST_RESOLUTION else f"{text[: LONGEST_RESOLUTION - 17]}~{content_hash(text)}"


def _sample(shape: Sequence[int], batch_size: int) -> tuple[int, ...]:
    """Return a shape without the batch: its first axis, else its second (the state of a recurrent network), if any."""
    axis = next((axis for axis in (0, 1) if tuple(shape[axis : axis + 1]) == (batch_size,)), None)
    return tuple(size for place, size in enumerate(shape) if place != axis)


def _one_size(shape: Sequence[int], model: ModelConfig) -> str:
    is_image = len(shape) == 3 and shape[1] == shape[2]
    if not is_image:
        return _product(shape)
    facts = facts_for(model)
    usual = DEFAULT_SIDE if facts is None else facts.input_size
    return "native" if shape[1] == usual else str(shape[1])


def _product(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape)) or "scalar"


def _metrics(model: ModelConfig, measured: Measured, *, with_ratios: bool) -> dict[str, float]:
    metrics = dict(measured.measurement.metrics)
    facts = measured.exported_model.facts
    metrics |= {metric.key: facts.get(name, math.nan) for metric, name in COST_FACTS.items()}
    metrics.setdefault(schema.MEMORY_WEIGHTS.key, facts.get("weights_mib", math.nan))
    identity = measured.measurement.identity
    metrics |= {schema.IDENTITY_COSINE.key: identity.cosine, schema.IDENTITY_ERROR.key: identity.max_abs_error}
    published = facts_for(model)
    if measured.accuracy is not None:
        metrics |= measured.accuracy.metrics()
    elif published is not None:
        metrics |= {schema.TOP1.key: _number(published.top1), schema.TOP5.key: _number(published.top5)}
    beside = measured.measurement.baseline_metrics.get(schema.LATENCY_P50.key, math.nan)
    metrics[schema.LATENCY_BASELINE.key] = beside
    if with_ratios:
        reference = (measured.baseline or measured.exported_model).facts.get("gmacs", math.nan)
        metrics[schema.RATIO_FLOPS.key] = float(ratio(metrics[schema.GMACS.key], reference))
        metrics[schema.RATIO_EFFECTIVE_FLOPS.key] = float(ratio(metrics[schema.EFFECTIVE_GMACS.key], reference))
        metrics |= _frm_metrics(metrics)
    else:
        metrics = {key: value for key, value in metrics.items() if not key.startswith("ratio/")}
    return {key: float(value) for key, value in metrics.items() if math.isfinite(value)}


def _frm_metrics(metrics: Mapping[str, float]) -> dict[str, float]:
    components = [metrics.get(m.key, math.nan) for m in (schema.RATIO_FLOPS, schema.RATIO_LATENCY, schema.RATIO_MEMORY)]
    energy = metrics.get(schema.RATIO_ENERGY.key, math.nan)
    values = {schema.FRM.key: float(frm(*components)), schema.FRM_E.key: float(frm(*components, energy))}
    latency, memory = (_range(metrics, *keys) for keys in _RATIO_RANGES)
    if math.isfinite(values[schema.FRM.key]) and math.isfinite(latency.low) and math.isfinite(memory.low):
        interval = frm_interval(latency, flops_ratio=components[0], memory_ratio=memory)
        values |= {schema.FRM_LOW.key: interval.low, schema.FRM_HIGH.key: interval.high}
    return values


def _range(metrics: Mapping[str, float], *keys: schema.Metric) -> Interval:
    return Interval(*(metrics.get(metric.key, math.nan) for metric in keys))


def _tags(plan: BenchmarkPlan, device: Device, measured: Measured, *, has_baseline: bool) -> dict[str, str]:
    facts, placed = measured.exported_model.facts, measured.measurement.placed
    tags = {
        schema.CONFIG_HASH: plan.config_hash(device=device.name, chip=device.chip),
        schema.INPUT_SIZE: str(facts.get("input_size", "")),
        schema.INPUT_SHAPE: ",".join(f"{spec.name}={_product(spec.shape)}" for spec in measured.exported_model.inputs),
        schema.ACCURACY_SOURCE: _accuracy_source(plan, measured),
        schema.FLOPS_SOURCE: facts.get("flops_source", ""),
        schema.FLOPS_CONVENTION: schema.MACS if facts.get("gmacs") is not None else "",
        schema.UNCOUNTED_OPS: ", ".join(facts.get("uncounted_ops", ())),
        schema.RATIO_SOURCE: schema.RATIO_INTERLEAVED if has_baseline else "",
        schema.LATENCY_STATISTIC: measured.measurement.latency_statistic,
        schema.LAYERS: measured.measurement.layers or (placed.layers if placed else ""),
        schema.PROVIDER: placed.provider if placed else "",
        schema.FLOAT_NODES: _float_nodes(measured.exported_model),
        schema.MEMORY_DEFINITION: measured.measurement.memory_definition,
        schema.ENERGY_METER: measured.measurement.energy_meter,
        schema.UNSTABLE: ", ".join(measured.measurement.unstable),
        schema.REMARKS: ", ".join(measured.measurement.remarks),
        schema.PROTOCOL: plan.settings.measure.protocol,
    }
    return {tag.key: value for tag, value in tags.items() if value}


def _float_nodes(exported_model: ExportedModel) -> str:
    """Return how much of a quantised network stayed in floating point; "" if nothing was quantised."""
    facts = exported_model.facts
    if exported_model.precision != "int8" or not facts.get("compute_nodes"):
        return ""
    return f"{facts['float_nodes']} of {facts['compute_nodes']}"


def _accuracy_source(plan: BenchmarkPlan, measured: Measured) -> str:
    if measured.accuracy is not None:
        return measured.accuracy.source
    published = facts_for(plan.settings.model)
    return published.accuracy_source if published is not None else ""


def _number(value: float | None) -> float:
    return math.nan if value is None else value
