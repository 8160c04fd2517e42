"""Plans what a sweep will run: every model on every runtime and precision, the baseline first.

Each benchmark gets exactly the configuration that Hydra would have composed if it had been requested
on its own, so a child run's config artifact is a command line that repeats it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf

from frm_mlflow import redact
from frm_mlflow.config import BenchConfig, ModelConfig, checked
from frm_mlflow.errors import ConfigError
from frm_mlflow.records import content_hash
from frm_mlflow.worker.runtimes import DEFAULT
from frm_mlflow.zoo.catalogue import CATALOGUE, PAPER_MODELS

LIBRARIES = ("torchvision", "timm")
OF_THE_SWEEP = ("resume", "json", "dry_run", "analysis", "max_drift")
"""Settings that concern a sweep as a whole."""
SETS = {"paper": tuple(PAPER_MODELS), "catalogue": tuple(CATALOGUE)}
"""Names for sets of several models."""

AUTO = "auto"
"""`runtime=auto` depends on the device; on a CPU it means the default runtime."""

Compose = Callable[[list[str]], DictConfig]


@dataclass(frozen=True)
class BenchmarkPlan:
    """One benchmark to run: its validated settings, and the same settings as plain dicts and lists."""

    settings: BenchConfig
    resolved: dict[str, Any]
    baseline: ModelConfig

    @property
    def is_baseline(self) -> bool:
        """Return whether this is the benchmark of the reference model."""
        return self.settings.model == self.baseline

    @property
    def label(self) -> str:
        """Return `model · runtime · precision`, for progress and messages."""
        s = self.settings
        return f"{s.model.name} · {s.runtime.name} · {s.precision.name}"

    def config_hash(self, *, device: str, chip: str) -> str:
        """Return a hash of everything that determines what is measured; a resumed sweep skips finished runs by it."""
        keys = ("model", "runtime", "precision", "measure", "accuracy", "baseline")
        settings = {key: self.resolved[key] for key in keys}
        # Settings that 0.1.0 did not have count only if they are set, so that its unfinished sweeps can be resumed.
        settings["model"] = {k: v for k, v in settings["model"].items() if v or k not in ("inputs", "axes", "example")}
        return content_hash({"device": device, "chip": chip} | settings)


def plan_benchmarks(
    config: DictConfig, overrides: Sequence[str], compose: Compose, *, automatic: str = DEFAULT
) -> tuple[BenchmarkPlan, ...]:
    """Return the benchmarks in `config`, grouped by runtime and precision, baseline first.

    Parameters
    ----------
    config
        The composed `bench` configuration.
    overrides
        The command-line overrides from which it was composed.
    compose
        Composes the `bench` configuration for a list of overrides (`hydra.compose`).
    automatic
        The runtime that `runtime=auto` resolves to.

    Raises
    ------
    ConfigError
        If a key is unknown or a name is in no group (Hydra's error lists the valid ones).
    """
    settings = checked(BenchConfig, config, where="bench")
    common_overrides = [o for o in overrides if key_of(o) not in {"models", "runtimes", "precisions"}]
    plans: list[BenchmarkPlan] = []
    for name in settings.runtimes or [settings.runtime.name]:
        runtime = automatic if name == AUTO else name if settings.runtimes else ""
        for precision in settings.precisions or [""]:
            common = _choose(common_overrides, runtime=runtime, precision=precision)
            reference = with_model(common, settings.baseline)
            model_overrides = (
                [with_model(common, name) for name in expand(settings.models)] if settings.models else [common]
            )
            plans += _plans([compose(item) for item in (reference, *model_overrides)])
    return tuple(plans)


def expand(names: Sequence[str]) -> list[str]:
    """Return `names` with the sets (`paper`, `catalogue`) expanded, each model once."""
    return list(dict.fromkeys(model for name in names for model in SETS.get(name, (name,))))


def is_of_the_sweep(override: str) -> bool:
    """Return whether an override affects how a sweep is run and logged, not what is measured."""
    return key_of(override) in OF_THE_SWEEP or key_of(override).split(".")[0] == "tracking"


def key_of(override: str) -> str:
    """Return the key that an override sets: `+model.kwargs.width=3` → `model.kwargs.width`."""
    return override.lstrip("+~").split("=", 1)[0].split("@", 1)[0]


def _choose(overrides: Sequence[str], **groups: str) -> list[str]:
    given = {group: name for group, name in groups.items() if name}
    return [o for o in overrides if key_of(o) not in given] + [f"{group}={name}" for group, name in given.items()]


def with_model(overrides: Sequence[str], name: str) -> list[str]:
    """Replace the model with `name`; of the model settings, only the input size and the seed are kept."""
    carried = {"model.input_size", "model.seed"}
    rest = [
        o for o in overrides if key_of(o) != "model" and (not key_of(o).startswith("model.") or key_of(o) in carried)
    ]
    library, colon, architecture = name.partition(":")
    if colon and library not in LIBRARIES:
        raise ConfigError(f"'{name}': a colon follows {' or '.join(LIBRARIES)}, for example timm:{architecture}")
    words = [f"model={library}", f"model.name={architecture}"] if colon else [f"model={name}"]
    return [*rest, *words]


def _plans(configs: Sequence[DictConfig]) -> list[BenchmarkPlan]:
    """Plan the benchmarks of one runtime and precision, each once; the first is that of the baseline."""
    baseline = checked(BenchConfig, configs[0], where="bench").model
    once: dict[str, DictConfig] = {}
    for config in configs:
        once.setdefault(content_hash(OmegaConf.to_container(config.model, resolve=True)), config)
    for config in once.values():
        redact.remember(cast(dict[str, Any], OmegaConf.to_container(config, resolve=True)))
    return [
        BenchmarkPlan(
            settings=checked(BenchConfig, config, where="bench"),
            resolved=cast(dict[str, Any], OmegaConf.to_container(config, resolve=True)),
            baseline=baseline,
        )
        for config in once.values()
    ]
