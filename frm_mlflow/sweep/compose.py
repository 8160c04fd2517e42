"""Composes settings with Hydra for a caller that is not a Hydra application, or is a different one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from hydra import compose, initialize_config_module
from hydra.core.global_hydra import GlobalHydra
from hydra.version import VersionBase
from omegaconf import DictConfig

from frm_mlflow.config import BenchConfig, ModelConfig, checked
from frm_mlflow.sweep.plan import with_model


def composed(name: str, overrides: Sequence[str] = ()) -> DictConfig:
    """Return the configuration `conf/NAME.yaml` with these overrides."""
    with _own_hydra():
        return compose(name, overrides=list(overrides))


def zoo_model(name: str) -> ModelConfig:
    """Return the settings of a network by its zoo name, or by `timm:NAME` or `torchvision:NAME`.

    Raises
    ------
    ConfigError
        If no library can have such a name; Hydra's error lists the names in the zoo.
    """
    return checked(BenchConfig, composed("bench", with_model([], name)), where="bench").model


@contextmanager
def _own_hydra() -> Iterator[None]:
    """Use Hydra with our configuration and leave the caller's Hydra application unchanged."""
    outer, base = GlobalHydra.instance().hydra, VersionBase.instance().version_base
    GlobalHydra.instance().clear()
    try:
        with initialize_config_module("frm_mlflow.conf", version_base="1.3"):
            yield
    finally:
        GlobalHydra.instance().hydra = outer
        VersionBase.instance().version_base = base
