"""Dataclasses that mirror `conf/`: a Hydra config is checked here once, at the door.

Further down functions take these frozen objects or plain arguments, never a DictConfig.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any, TypeVar, cast, get_type_hints

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from frm_mlflow.errors import ConfigError

MODEL_SOURCES = ("torchvision", "timm", "target", "onnx", "pt2")
FILE_SOURCES = {"onnx": ".onnx", "pt2": ".pt2"}
"""Sources that are a file of the user's, which `model.path` names."""
TRANSPORTS = ("local", "ssh", "adb")
PHONE = "phone"
TOOLS = {"benchmark_model": "litert", "onnxruntime_perf_test": "onnxruntime"}
"""Programs that measure on a phone → the runtime that they are."""
FIXED_SSH_OPTIONS = frozenset({"stricthostkeychecking", "batchmode", "controlmaster", "controlpath", "controlpersist"})
"""What `device.ssh_options` may not change, in lower case."""


@dataclass(frozen=True)
class ModelConfig:
    """Which network: a name in the zoo, a library's name, a user's factory or an `.onnx` file."""

    name: str
    source: str = "torchvision"
    """torchvision, timm, target (a user's factory), onnx or pt2 (files)."""
    architecture: str | None = None
    """The library's own name where it differs from `name`; the zoo knows it for its models."""
    target: str | None = None
    """`package.module:factory` of a user's own module (source=target)."""
    kwargs: dict[str, Any] = field(default_factory=dict)
    path: str | None = None
    """The `.onnx` file (source=onnx) or the file of `torch.export.save` (source=pt2)."""
    input_size: int | None = None
    """Side of the square input in pixels; by default the network's native size."""
    input_shape: list[int] | None = None
    """Shape of one sample without the batch, for models that do not take a square image."""
    family: str | None = None
    weights: str | None = None
    """random (drawn from `seed` and made fit to be measured) or own (the factory's, untouched); by default own
    for source=target and files, random otherwise."""
    seed: int = 0

    def __post_init__(self) -> None:
        if self.weights not in (None, "own", "random"):
            raise ConfigError(f"model.weights must be own or random, got '{self.weights}'")
        if self.source not in MODEL_SOURCES:
            raise ConfigError(f"model.source must be one of {', '.join(MODEL_SOURCES)}, got '{self.source}'")
        if self.source == "target" and not self.target:
            raise ConfigError("model.source=target needs model.target=package.module:factory")
        if self.source in FILE_SOURCES and not self.path:
            raise ConfigError(f"model.source={self.source} needs model.path=FILE{FILE_SOURCES[self.source]}")


@dataclass(frozen=True)
class Recognition:
    """What the hardware must look like for a run to carry a device's name; every given fact must hold."""

    gpu: str | None = None
    """Regular expression, searched in the GPU's name as NVML gives it."""
    gpu_memory_gib: list[float] | None = None
    """Lowest and highest total memory of the GPU in GiB."""
    cpu: str | None = None
    """Regular expression, searched in the CPU's brand string."""
    azure_vm_size: str | None = None
    """The size that Azure's instance metadata service gives."""
    board: str | None = None
    """Regular expression, searched in what the device tree calls the board (Raspberry Pi, Jetson)."""
    arch: str | None = None
    """The machine's architecture: x86_64, aarch64, ..."""
    emulator: str | None = None
    """What emulates the architecture; a device without this fact is never an emulated one."""
    phone: str | None = None
    """Regular expression, searched in the phone's model as Android gives it."""


@dataclass(frozen=True)
class DeviceConfig:
    """A device: its name in the tracking server, its tier and the rule that recognises it."""

    name: str
    tier: str | None
    """gpu, cpu or edge; null for `auto`, which takes the recognised device's."""
    kind: str
    """Where the model runs: cpu, cuda, phone, or auto."""
    recognise: Recognition = field(default_factory=Recognition)
    index: int = 0
    """Which GPU, as CUDA numbers them."""
    transport: str = "local"
    """How the device is reached: local (this machine), ssh or adb."""
    host: str | None = None
    """ssh: where it is, as `ssh` takes it: `pi@10.0.0.7`, or a name of your ssh configuration."""
    port: int | None = None
    python: str = "python3"
    """ssh: the device's Python with numpy and the runtime; 3.10 or newer."""
    folder: str | None = None
    """Folder on the device for the worker and the models; null: ~/.cache/frm-mlflow, /data/local/tmp/frm on Android."""
    known_hosts: str | None = None
    """ssh: a file of known host keys of one's own; null is the user's."""
    ssh_options: dict[str, str] | None = None
    """ssh: further options of OpenSSH by their names: {IdentityFile: ..., ProxyJump: ...}."""
    serial: str | None = None
    """adb: which phone, where several are plugged in."""
    binary: str | None = None
    """adb: the benchmark program on this machine, built for the phone's processor."""
    tool: str = "benchmark_model"
    """adb: what that program is: benchmark_model (LiteRT) or onnxruntime_perf_test."""
    tool_options: list[str] = field(default_factory=list)
    """adb: further options of that program: [--use_gpu=true]."""
    connect_timeout_s: float = 10.0
    copy_timeout_s: float = 600.0
    """Longest time that one copy to the device may take."""

    def __post_init__(self) -> None:
        if self.transport not in TRANSPORTS:
            raise ConfigError(f"device.transport must be one of {', '.join(TRANSPORTS)}, got '{self.transport}'")
        if self.transport == "ssh" and not self.host:
            raise ConfigError("device.transport=ssh needs device.host=USER@HOST")
        if self.tool not in TOOLS:
            raise ConfigError(f"device.tool must be one of {', '.join(TOOLS)}, got '{self.tool}'")
        if (self.transport == "adb") != (self.kind == PHONE):
            raise ConfigError(
                "device=phone and device.transport=adb go together: a phone has no Python to run a worker"
            )
        if self.transport != "ssh" and self.host:
            raise ConfigError(f"device.host={self.host} needs device.transport=ssh")
        if (self.host and not re.fullmatch(r"[\w.@:%\[\]+-]+", self.host)) or (self.host or "").startswith("-"):
            raise ConfigError(f"device.host must be USER@HOST or a name of your ssh configuration, got {self.host!r}")
        options = self.ssh_options or {}
        fixed = sorted(name for name in options if name.lower() in FIXED_SSH_OPTIONS)
        if fixed:
            raise ConfigError(
                f"device.ssh_options must leave {', '.join(fixed)} alone: keys of hosts are always verified, "
                "and nobody is there to answer a question"
            )
        words = [word for option in options.items() for word in option]
        if not all(name.isalnum() for name in options) or not all(word.isprintable() for word in words):
            raise ConfigError(f"device.ssh_options must be OpenSSH's options by name, got {dict(options)}")


@dataclass(frozen=True)
class RuntimeConfig:
    """An inference runtime with its options; `threads` null means all physical cores the process may use."""

    name: str
    threads: int | None = None
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class PrecisionConfig:
    """Numeric precision asked for; the run's tag says what really ran."""

    name: str
    calibration: str | None = None
    calibration_samples: int = 64


@dataclass(frozen=True)
class MeasureConfig:
    """The measuring protocol: warm-up, pairing with the baseline, stopping rule, limits."""

    runs: int = 100
    """Timed runs at least, over all launches."""
    launches: int = 5
    """Fresh pairs of worker processes at least, each with its share of the runs; 1 measures in one pair."""
    max_runs: int = 2000
    max_seconds: float = 60.0
    """Cap on the time from the first timed call on; `runs` are made in any case."""
    target_interval: float = 0.02
    """Stop once the half-width of the ratio's 95 % interval over its value is at most this."""
    block_seconds: float = 0.25
    """Length aimed at for one block of the slower of the two models."""
    warm_up_runs: int = 10
    warm_up_seconds: float = 0.5
    warm_up_agreement: float = 0.10
    warm_up_max_seconds: float = 30.0
    confidence: float = 0.95
    resamples: int = 2000
    batch_size: int = 1
    energy_seconds: float = 5.0
    """Window in which energy is metered, after the timed runs, where there is a meter; 0 leaves it out."""
    sustained_seconds: float = 0.0
    """Sustained mode: run the model alone for so long and follow its latency; 0 leaves it out."""
    timeout_s: float = 300.0
    """A worker that does not answer for this long is killed and the benchmark FAILED."""
    seed: int = 0

    def __post_init__(self) -> None:
        if self.runs < 1:
            raise ConfigError(f"measure.runs must be at least 1, got {self.runs}")
        if self.launches < 1:
            raise ConfigError(f"measure.launches must be at least 1, got {self.launches}")
        if self.max_runs < self.runs:
            raise ConfigError(f"measure.max_runs ({self.max_runs}) must not be below measure.runs ({self.runs})")
        if self.batch_size < 1:
            raise ConfigError(f"measure.batch_size must be at least 1, got {self.batch_size}")
        if not 0.5 < self.confidence < 1:
            raise ConfigError(f"measure.confidence must be between 0.5 and 1, got {self.confidence}")
        if min(self.energy_seconds, self.sustained_seconds) < 0:
            raise ConfigError("measure.energy_seconds and measure.sustained_seconds must not be negative; 0 is off")


@dataclass(frozen=True)
class AccuracyConfig:
    """Where accuracy comes from: published, or measured on labelled images through the timed artefact."""

    mode: str = "published"
    data: str | None = None
    """A folder with one folder a class, an `.npz` or a directory of Hugging Face's save_to_disk."""
    samples: int = 1000
    """Images drawn without replacement (the paper: 1,000)."""
    seed: int = 0
    crop: float = 0.875
    """Input side over the shorter side of the resized image."""
    mean: list[float] = field(default_factory=lambda: [0.485, 0.456, 0.406])
    std: list[float] = field(default_factory=lambda: [0.229, 0.224, 0.225])

    def __post_init__(self) -> None:
        if self.mode not in ("published", "measured"):
            raise ConfigError(f"accuracy.mode must be published or measured, got '{self.mode}'")
        if self.mode == "measured" and not self.data:
            raise ConfigError("accuracy=measured needs accuracy.data=PATH")
        if self.samples < 1:
            raise ConfigError(f"accuracy.samples must be at least 1, got {self.samples}")
        if not 0 < self.crop <= 1:
            raise ConfigError(f"accuracy.crop must be above 0 and at most 1, got {self.crop}")
        if len(self.mean) != len(self.std) or len(self.mean) not in (1, 3):
            raise ConfigError("accuracy.mean and accuracy.std need one number a channel, for 1 or 3 channels")


@dataclass(frozen=True)
class TrackingConfig:
    """Where runs are logged; null means MLflow's own environment variables and defaults."""

    uri: str | None = None
    experiment: str = "frm"
    parent_run_id: str | None = None
    tags: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class SourceConfig:
    """What an importer is told beyond the file: what it takes, and what the file itself does not say."""

    name: str
    """An entry point of the group `frm_mlflow.importers`."""
    version: str | None = None
    """Release to fetch where no path is given (aihub)."""
    filter: str = "classifiers"
    """classifiers (networks with ImageNet accuracy) or all; only aihub holds anything else."""
    given: dict[str, Any] = field(default_factory=dict)
    """Facts that the file does not state: model, device, tier, chip, runtime, runtime_version, precision, ..."""
    models: dict[str, str] | None = None
    """Your own names of models to canonical ones."""
    devices: dict[str, str] | None = None
    """Your own names of devices to canonical ones."""
    columns: dict[str, str] | None = None
    """Columns of a csv or parquet table: ours (`latency_ms`, `model`, ...) to the table's."""
    units: dict[str, str] | None = None
    """Units of such columns where they are not ours: us, s, bytes, kb, mb, gb, kib, gib, count, fraction, ..."""
    accuracy: str | None = None
    """A timm results table (`results-imagenet.csv`) to take accuracy from (timm)."""

    def __post_init__(self) -> None:
        if self.filter not in ("classifiers", "all"):
            raise ConfigError(f"source.filter must be classifiers or all, got '{self.filter}'")


@dataclass(frozen=True)
class BenchConfig:
    """The settings of `frm-mlflow bench` (`conf/bench.yaml`)."""

    model: ModelConfig
    device: DeviceConfig
    runtime: RuntimeConfig
    precision: PrecisionConfig
    measure: MeasureConfig
    tracking: TrackingConfig
    accuracy: AccuracyConfig = field(default_factory=AccuracyConfig)
    baseline: str = "resnet50"
    batch_size: int = 1
    models: list[str] | None = None
    runtimes: list[str] | None = None
    precisions: list[str] | None = None
    resume: bool = False
    dry_run: bool = False
    analysis: Any = None
    """Analyses to compute when the sweep is over, as `frm-mlflow analyze` names them; None computes none."""
    max_drift: float = 0.1
    json: bool = False

    def __post_init__(self) -> None:
        if self.max_drift <= 0:
            raise ConfigError(f"max_drift must be positive (0.1 is 10 %), got {self.max_drift}")


@dataclass(frozen=True)
class AttachConfig:
    """The settings of `frm-mlflow attach` (`conf/attach.yaml`) and of `frm_mlflow.log_frm`."""

    device: DeviceConfig
    runtime: RuntimeConfig
    precision: PrecisionConfig
    measure: MeasureConfig
    tracking: TrackingConfig
    model_uri: str | None = None
    run_id: str | None = None
    into: str = "child"
    prefix: str = ""
    name: str | None = None
    baseline: str = "resnet50"
    batch_size: int = 1
    trust: bool = False
    """Load a model that is a pickle: a program of whoever logged it."""
    json: bool = False

    def __post_init__(self) -> None:
        if self.into not in ("child", "run"):
            raise ConfigError(f"into must be child or run, got '{self.into}'")


@dataclass(frozen=True)
class IngestConfig:
    """The settings of `frm-mlflow ingest` (`conf/ingest.yaml`)."""

    source: SourceConfig
    tracking: TrackingConfig
    path: str | None = None
    filter: str = "classifiers"
    """What the source's own `filter` refers to."""
    dry_run: bool = False
    json: bool = False


@dataclass(frozen=True)
class GateConfig:
    """The settings of `frm-mlflow gate` (`conf/gate.yaml`)."""

    candidate: str
    device: DeviceConfig
    runtime: RuntimeConfig
    precision: PrecisionConfig
    measure: MeasureConfig
    tracking: TrackingConfig
    against: str | None = None
    max_latency_ms: float | None = None
    max_frm: float | None = None
    max_regression: str | None = None
    """A share (0.05) or a percentage (5%)."""
    confidence: float = 0.95
    rounds: int = 4
    """Measurements at most; after each the gate looks whether the verdict is clear."""
    numbers: str = "auto"
    baseline: str = "resnet50"
    batch_size: int = 1
    trust: bool = False
    """Load a model that is a pickle: a program of whoever logged it."""
    tag: bool = True
    alias: str | None = None
    junit: str | None = None
    markdown: str | None = None
    json: bool = False

    def __post_init__(self) -> None:
        if self.numbers not in ("auto", "measured", "tracked", "predicted"):
            raise ConfigError(f"numbers must be auto, measured, tracked or predicted, got '{self.numbers}'")
        if self.rounds < 1:
            raise ConfigError(f"rounds must be at least 1, got {self.rounds}")
        if not 0 < self.confidence < 1:
            raise ConfigError(f"confidence must be above 0 and below 1, got {self.confidence}")
        limits = (self.max_latency_ms, self.max_frm, self.largest_ratio)
        if all(limit is None for limit in limits):
            raise ConfigError("a gate needs a limit: max_latency_ms=, max_frm= or max_regression= with against=")
        if (self.against is None) != (self.max_regression is None):
            raise ConfigError(
                "against= and max_regression= go together: against=models:/NAME@champion max_regression=5%"
            )

    @property
    def largest_ratio(self) -> float | None:
        """The largest allowed latency over that of `against`."""
        if self.max_regression is None:
            return None
        text = self.max_regression.strip()
        try:
            share = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
        except ValueError:
            raise ConfigError(f"max_regression must be a share or a percentage (0.05, 5%), got '{text}'") from None
        return 1 + share


ConfigT = TypeVar("ConfigT")


def _schema_of(cls: type[Any]) -> DictConfig:
    """Return the structured config of `cls`, writable although the dataclass is frozen."""
    node = OmegaConf.structured(cls)
    OmegaConf.set_readonly(node, False)
    types = get_type_hints(cls)
    for item in fields(cls):
        if is_dataclass(types[item.name]):
            node[item.name] = _schema_of(cast(type[Any], types[item.name]))
    return cast(DictConfig, node)


def checked(cls: type[ConfigT], config: DictConfig | dict[str, Any], *, where: str) -> ConfigT:
    """Return `config` as an instance of the dataclass `cls`.

    Raises
    ------
    ConfigError
        Where a key is unknown, missing or of the wrong type; `where` names the config group.
    """
    try:
        return cast(ConfigT, OmegaConf.to_object(OmegaConf.merge(_schema_of(cls), config)))
    except OmegaConfBaseException as error:
        lines = str(error).splitlines()
        key = next((line.split(":", 1)[1].strip() for line in lines if line.strip().startswith("full_key:")), "")
        raise ConfigError(f"{where}{'.' if key else ''}{key}: {lines[0]}") from error
