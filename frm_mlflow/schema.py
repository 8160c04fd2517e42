"""Every metric and tag key with its unit, direction and meaning.

This module is the contract between what is logged and what is queried: keys are spelled out only
here. `Metric.column` and `Tag.column` name the same fact in the tidy frame that
`tracking.query` returns and that `analysis` and `prediction` read.

It imports only the standard library.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Literal

SCHEMA_VERSION = 1

Direction = Literal["lower", "higher", "none"]


@dataclass(frozen=True, slots=True)
class Metric:
    """A numeric value of a run: its MLflow key, frame column, unit and which direction is better."""

    key: str
    column: str
    unit: str
    direction: Direction
    meaning: str


@dataclass(frozen=True, slots=True)
class Tag:
    """A text value of a run: its MLflow key, frame column and meaning."""

    key: str
    column: str
    meaning: str


EARLY_STOPPING_CONFIDENCE = 0.99
"""MLPerf LoadGen's confidence that the true quantile is not above the reported one."""


@cache
def min_samples(quantile: float, *, confidence: float = EARLY_STOPPING_CONFIDENCE) -> int:
    """Return how many samples are needed before the quantile is reported.

    MLPerf LoadGen's early stopping estimates a quantile by discarding at least one of the samples above
    it. That bound holds with `confidence` once ``P(Binomial(n, 1 - quantile) <= 1)`` is
    at most ``1 - confidence``.

    Examples
    --------
    >>> [min_samples(q) for q in (0.90, 0.95, 0.99)]
    [64, 130, 662]
    """
    n = 2
    while quantile**n + n * (1 - quantile) * quantile ** (n - 1) > 1 - confidence:
        n += 1
    return n


def _tail(key: str, column: str, quantile: float) -> Metric:
    meaning = f"{100 * quantile:.0f}th percentile of latency; needs {min_samples(quantile)} samples."
    return Metric(key, column, "ms", "lower", meaning)


# --- metrics: latency ------------------------------------------------------------------
LATENCY_P50 = Metric("latency/p50_ms", "latency_ms", "ms", "lower", "Median latency of one call.")
LATENCY_P50_LOW = Metric(
    "latency/p50_low_ms",
    "latency_low_ms",
    "ms",
    "lower",
    "Lower end of the median's 95 % interval; absent with one launch.",
)
LATENCY_P50_HIGH = Metric(
    "latency/p50_high_ms",
    "latency_high_ms",
    "ms",
    "lower",
    "Upper end of the median's 95 % interval; absent with one launch.",
)
LATENCY_MEAN = Metric("latency/mean_ms", "latency_mean_ms", "ms", "lower", "Mean latency of one call.")
LATENCY_BASELINE = Metric(
    "latency/baseline_p50_ms",
    "baseline_latency_ms",
    "ms",
    "none",
    "Median latency of the baseline measured with this model: it shows whether the device has changed.",
)
LATENCY_P90 = _tail("latency/p90_ms", "latency_p90_ms", 0.90)
LATENCY_P95 = _tail("latency/p95_ms", "latency_p95_ms", 0.95)
LATENCY_P99 = _tail("latency/p99_ms", "latency_p99_ms", 0.99)
TAIL_LATENCIES = {0.90: LATENCY_P90, 0.95: LATENCY_P95, 0.99: LATENCY_P99}
"""Metrics by the quantile that they report, if there are enough samples."""
LATENCY_CPU_P50 = Metric(
    "latency/cpu_p50_ms",
    "latency_cpu_ms",
    "ms",
    "lower",
    "Median CPU time of one call, all threads of the worker; parts from wall time under contention.",
)
LATENCY_DEVICE_P50 = Metric(
    "latency/device_p50_ms", "latency_device_ms", "ms", "lower", "Median by the accelerator's own events (CUDA)."
)
LATENCY_SAMPLES = Metric("latency/samples", "latency_samples", "1", "none", "Number of timed calls.")
LATENCY_LAUNCHES = Metric(
    "latency/launches",
    "latency_launches",
    "1",
    "none",
    "Process starts that the calls come from; with one there is no interval.",
)
LATENCY_BLOCK_CV = Metric(
    "latency/block_cv", "latency_block_cv", "1", "lower", "Coefficient of variation of the blocks' medians."
)
THROUGHPUT = Metric(
    "throughput/items_per_s", "throughput_items_per_s", "1/s", "higher", "Batch size over the mean latency."
)

# --- metrics: memory, compute, energy, accuracy ------------------------------------------
MEMORY_PEAK = Metric(
    "memory/peak_mib",
    "memory_mib",
    "MiB",
    "lower",
    "Peak memory of the worker during inference over its state before the model was loaded.",
)
MEMORY_LOW = Metric(
    "memory/peak_low_mib", "memory_low_mib", "MiB", "lower", "Lower end of peak memory, if a source gives a range."
)
MEMORY_WEIGHTS = Metric("memory/weights_mib", "weights_mib", "MiB", "lower", "Size of the parameters and buffers.")
MEMORY_LOADED = Metric(
    "memory/loaded_mib", "loaded_mib", "MiB", "lower", "Memory after loading, before the first inference."
)
MEMORY_DEVICE = Metric(
    "memory/device_mib", "device_memory_mib", "MiB", "lower", "The process's memory on the accelerator, by NVML."
)
EFFECTIVE_GMACS = Metric(
    "compute/effective_gmacs",
    "effective_gmacs",
    "GMAC",
    "lower",
    "Multiply-accumulates of one sample whose weight is not zero; compute/gmacs counts a pruned network as dense.",
)
WEIGHT_SPARSITY = Metric(
    "compute/weight_sparsity", "weight_sparsity", "1", "none", "Share of zeros in the weights of the counted operators."
)
GMACS = Metric(
    "compute/gmacs",
    "gmacs",
    "GMAC",
    "lower",
    "Multiply-accumulates of one sample (the paper's FLOPs), zeros in the weights counted like any other: dense.",
)
PARAMS_M = Metric("compute/params_m", "params_m", "1e6", "lower", "Parameters used at inference.")
ACTIVATIONS_M = Metric(
    "compute/activations_m", "activations_m", "1e6", "lower", "Elements written by convolutions and matrix products."
)
ENERGY = Metric("energy/per_inference_mj", "energy_mj", "mJ", "lower", "Energy of one call by a hardware meter.")
SUSTAINED_DROP = Metric(
    "sustained/drop", "sustained_drop", "1", "lower", "Latency at the end of a sustained run over its start, less one."
)
SUSTAINED_SECONDS = Metric("sustained/seconds", "sustained_seconds", "s", "none", "Length of the sustained run.")
IDENTITY_COSINE = Metric(
    "identity/cosine",
    "identity_cosine",
    "1",
    "higher",
    "Cosine similarity of the measured exported model's outputs with the torch reference's on the same input.",
)
IDENTITY_ERROR = Metric(
    "identity/max_abs_error", "identity_max_abs_error", "1", "lower", "Largest difference of those outputs."
)
TOP1 = Metric("accuracy/top1", "top1", "%", "higher", "Top-1 accuracy; its origin is in frm.accuracy_source.")
TOP1_DEVICE = Metric(
    "accuracy/top1_device",
    "top1_device",
    "%",
    "higher",
    "Top-1 accuracy of this exported model, evaluated by the source on a device.",
)
TOP1_LOW = Metric("accuracy/top1_low", "top1_low", "%", "higher", "Lower end of measured top-1's 95 % interval.")
TOP1_HIGH = Metric("accuracy/top1_high", "top1_high", "%", "higher", "Upper end of measured top-1's 95 % interval.")
TOP1_DROP = Metric(
    "accuracy/top1_drop", "top1_drop", "%", "lower", "Measured top-1 in fp32 less that in this precision."
)
ACCURACY_SAMPLES = Metric("accuracy/samples", "accuracy_samples", "1", "none", "Images that accuracy was measured on.")
TOP5 = Metric("accuracy/top5", "top5", "%", "higher", "Top-5 accuracy; its origin is in frm.accuracy_source.")

# --- metrics: relative to the baseline -----------------------------------------------------
RATIO_FLOPS = Metric("ratio/flops", "ratio_flops", "1", "lower", "FLOPs over the baseline's (paper eq. 2).")
RATIO_EFFECTIVE_FLOPS = Metric(
    "ratio/effective_flops",
    "ratio_effective_flops",
    "1",
    "lower",
    "Effective multiply-accumulates over the baseline's; no part of FRM, whose FLOPs are dense.",
)
RATIO_LATENCY = Metric("ratio/latency", "ratio_latency", "1", "lower", "Latency over the baseline's (paper eq. 3).")
RATIO_LATENCY_LOW = Metric(
    "ratio/latency_low",
    "ratio_latency_low",
    "1",
    "lower",
    "Lower end of the latency ratio's 95 % interval; absent with one launch.",
)
RATIO_LATENCY_HIGH = Metric(
    "ratio/latency_high",
    "ratio_latency_high",
    "1",
    "lower",
    "Upper end of the latency ratio's 95 % interval; absent with one launch.",
)
RATIO_MEMORY = Metric("ratio/memory", "ratio_memory", "1", "lower", "Peak memory over the baseline's (paper eq. 4).")
RATIO_MEMORY_LOW = Metric(
    "ratio/memory_low", "ratio_memory_low", "1", "lower", "Lower end of the memory ratio's 95 % interval."
)
RATIO_MEMORY_HIGH = Metric(
    "ratio/memory_high",
    "ratio_memory_high",
    "1",
    "lower",
    "Upper end of the memory ratio's 95 % interval.",
)
RATIO_ENERGY = Metric("ratio/energy", "ratio_energy", "1", "lower", "Energy over the baseline's.")
FRM = Metric("frm", "frm", "1", "lower", "Geometric mean of the FLOPs, latency and memory ratios (paper eq. 1).")
FRM_LOW = Metric(
    "frm_low", "frm_low", "1", "lower", "Lower end of FRM's 95 % interval, from those of latency and memory."
)
FRM_HIGH = Metric(
    "frm_high",
    "frm_high",
    "1",
    "lower",
    "Upper end of FRM's 95 % interval, from those of latency and memory.",
)
FRM_E = Metric("frm_e", "frm_e", "1", "lower", "FRM with the energy ratio as a fourth component (paper 2.1).")

# --- metrics: bookkeeping --------------------------------------------------------------------
WRITTEN = Metric(
    "tracking/written_s",
    "written_s",
    "s",
    "none",
    "When a run was written to although its own end is earlier (an import, a resend, a write-back); since 1970.",
)
RANK_FRM = Metric("rank/frm", "rank_frm", "1", "lower", "Rank by FRM in its configuration, written back by analyze.")

DRIFT = Metric(
    "sweep/drift",
    "drift",
    "1",
    "none",
    "On a sweep: the baseline's latency in the last benchmark over that in the first, less one; of all its "
    "configurations the largest movement.",
)

# --- tags ----------------------------------------------------------------------------------
KIND = Tag("frm.kind", "kind", "What the run is: benchmark, sweep, analysis, prediction.")
SCHEMA = Tag("frm.schema", "schema", "Version of this schema.")
MODEL = Tag("frm.model", "model", "Canonical name of the architecture.")
FAMILY = Tag("frm.family", "family", "cnn, mobile_cnn, efficient, transformer, hybrid or other.")
DEVICE = Tag("frm.device", "device", "Name of a recognised device.")
CHIP = Tag("frm.chip", "chip", "The chip that was found or that the source names.")
TIER = Tag("frm.tier", "tier", "gpu, cpu or edge.")
RUNTIME = Tag("frm.runtime", "runtime", "Inference runtime.")
RUNTIME_VERSION = Tag("frm.runtime_version", "runtime_version", "Version of the runtime; part of a configuration.")
PRECISION = Tag("frm.precision", "precision", "What really ran: fp32, tf32, fp16, bf16, int8, ...")
BATCH_SIZE = Tag("frm.batch_size", "batch_size", "Samples in one call.")
RESOLUTION = Tag(
    "frm.resolution",
    "resolution",
    "What the network was fed: native, a picture's side in pixels, or the shape of one sample (1x16000).",
)
INPUT_SIZE = Tag("frm.input_size", "input_size", "The side of a picture in pixels; empty for other inputs.")
INPUT_SHAPE = Tag("frm.input_shape", "input_shape", "Every input with its whole shape: ids=1x128,mask=1x128.")
COMPUTE_UNIT = Tag("frm.compute_unit", "compute_unit", "cpu, gpu, npu or mixed.")
PROVIDER = Tag(
    "frm.provider",
    "provider",
    "What ran the model, as the runtime reported it: CUDAExecutionProvider, cuda:0, CPU, ...",
)
BASELINE = Tag("frm.baseline", "baseline", "The reference model of the ratios.")
SOURCE = Tag("frm.source", "source", "measured, or imported:NAME.")
ACCURACY_SOURCE = Tag("frm.accuracy_source", "accuracy_source", "Publication or measurement behind the accuracy.")
FLOPS_SOURCE = Tag("frm.flops_source", "flops_source", "counted, catalogue, or reported by the source.")
FLOPS_CONVENTION = Tag("frm.flops_convention", "flops_convention", "macs (one multiply-accumulate is one).")
UNCOUNTED_OPS = Tag("frm.uncounted_ops", "uncounted_ops", "Operators that the FLOPs counter could not count.")
RATIO_SOURCE = Tag("frm.ratio_source", "ratio_source", "interleaved (one window), or quotient (of two runs' medians).")
LATENCY_STATISTIC = Tag("frm.latency_statistic", "latency_statistic", "What latency_ms is: p50, mean or min.")
MEMORY_DEFINITION = Tag(
    "frm.memory_definition", "memory_definition", "What memory_mib is: rss_peak, allocator_over_base, range_max, ..."
)
ENERGY_METER = Tag("frm.energy_meter", "energy_meter", "Counter that the energy comes from: nvml, zeus:rapl, ...")
UNSTABLE = Tag(
    "frm.unstable", "unstable", "Why the ratio to the baseline, and so FRM, is uncertain; empty if it is not."
)
REMARKS = Tag(
    "frm.remarks", "remarks", "What disturbed the milliseconds: contention, drift, blocks that vary. Ratios cancel it."
)
PROTOCOL = Tag("frm.protocol", "protocol", "The measuring protocol: default, quick, rigorous, paper, sustained, ...")
DRIFTED = Tag("frm.drifted", "drifted", "On a sweep: configurations whose baseline moved by more than max_drift.")
RECORD_ID = Tag("frm.record_id", "record_id", "Content hash of the benchmark; makes logging it twice impossible.")
ATTACHED_ON = Tag("frm.attached_on", "attached_on", "Day (UTC) on which a run got a benchmark after its own end.")
CONFIG_HASH = Tag("frm.config_hash", "config_hash", "Hash of what was asked for; a resumed sweep skips by it.")
JOB_ID = Tag("frm.job_id", "job_id", "The source's own job; one job under two device names counts once.")
MEASURED_ON = Tag(
    "frm.measured_on", "measured_on", "Device that ran the job, if the source publishes it under another device's name."
)
FLOAT_NODES = Tag(
    "frm.float_nodes",
    "float_nodes",
    "Convolutions and matrix products of a quantised network that stayed in floating point, of all: 3 of 54.",
)
LAYERS = Tag("frm.layers", "layers", "Layers that each compute unit ran, by the runtime or source: npu=78 cpu=1.")
GENERATION = Tag("frm.generation", "generation", "Generation of the chip's compute unit: hexagon-v75, ada, ...")
FORM_FACTOR = Tag("frm.form_factor", "form_factor", "phone, tablet, laptop, server, car, board, headset, ...")
SERIES = Tag(
    "frm.series", "series", "Hash of an imported row without its source's version: of a series, the newest counts."
)
SOURCE_VERSION = Tag("frm.source_version", "source_version", "Version of the imported source.")
PROVENANCE = Tag("frm.provenance", "provenance", "Original file, row, tool version and date, as JSON.")
REASON = Tag("frm.reason", "reason", "Why a run FAILED or was KILLED.")
MODEL_ID = Tag("frm.model_id", "model_id", "MLflow's LoggedModel that was benchmarked.")
GATE = Tag("frm.gate", "gate", "What the gate said of a model version: pass, fail or undecided, with its reasons.")
DIGEST = Tag("frm.digest", "digest", "Hash of the runs, and of their metrics, that an analysis or prediction used.")
TARGET = Tag("frm.target", "target", "The device that a prediction is for.")
HOST = Tag("frm.host", "host", "Name of the host that measured.")
PROCESS = Tag("frm.process", "process", "Process that runs a sweep on its host: its id and the time of its start.")
FLEET_JOB = Tag("frm.fleet_job", "fleet_job", "The job of a fleet's launcher that the run belongs to.")
FLEET_NODE = Tag("frm.fleet_node", "fleet_node", "Node of the fleet that ran the job, as Ray or Slurm names it.")
LEASE_PREFIX = "frm.lease."
"""Tags of a sweep with this prefix name the processes that run it or are trying to; they are removed when it ends."""
OPENING = Tag(
    "frm.opening",
    "opening",
    "Identifies the request that created a run, to find the run if the reply was lost.",
)

KIND_BENCHMARK = "benchmark"
KIND_SWEEP = "sweep"
KIND_ANALYSIS = "analysis"
KIND_PREDICTION = "prediction"
SOURCE_MEASURED = "measured"
RATIO_INTERLEAVED = "interleaved"
RATIO_QUOTIENT = "quotient"
MACS = "macs"

TIERS = ("gpu", "cpu", "edge")

METRICS: tuple[Metric, ...] = tuple(v for v in list(globals().values()) if isinstance(v, Metric))
TAGS: tuple[Tag, ...] = tuple(v for v in list(globals().values()) if isinstance(v, Tag))
METRIC_BY_KEY: dict[str, Metric] = {m.key: m for m in METRICS}
TAG_BY_KEY: dict[str, Tag] = {t.key: t for t in TAGS}

CONFIGURATION_TAGS: tuple[Tag, ...] = (
    DEVICE,
    CHIP,
    RUNTIME,
    RUNTIME_VERSION,
    PRECISION,
    BATCH_SIZE,
    RESOLUTION,
    COMPUTE_UNIT,
)
"""A configuration: what must be equal for two latencies to be comparable (`tier` follows from the device)."""
CONFIGURATION_COLUMNS: tuple[str, ...] = tuple(t.column for t in CONFIGURATION_TAGS)

RUN_COLUMNS: tuple[str, ...] = ("run_id", "experiment_id", "parent_run_id", "status", "start_time", "end_time")
"""Facts of the MLflow run itself that a tidy frame contains in addition to metrics and tags (times: UTC datetimes)."""
FRAME_COLUMNS: tuple[str, ...] = (*RUN_COLUMNS, *(t.column for t in TAGS), *(m.column for m in METRICS))
