"""Validates a Hydra config once, on entry."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from typing import Any, TypeVar, cast, get_type_hints

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException

from frm_mlflow import redact
from frm_mlflow.errors import ConfigError
from frm_mlflow.near import did_you_mean

ConfigT = TypeVar("ConfigT")


def _schema_of(cls: type[Any]) -> DictConfig:
    """Return the structured config of `cls`, which is writable although the dataclass is frozen."""
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
        If a key is unknown, missing or of the wrong type; `where` is the name of the config group.
    """
    try:
        merged = OmegaConf.merge(_schema_of(cls), config)
        redact.remember(cast(dict[str, Any], OmegaConf.to_container(merged, resolve=True)))
        return cast(ConfigT, OmegaConf.to_object(merged))
    except OmegaConfBaseException as error:
        lines = str(error).splitlines()
        key = next((line.split(":", 1)[1].strip() for line in lines if line.strip().startswith("full_key:")), "")
        raise ConfigError(f"{where}{'.' if key else ''}{key}: {lines[0]}{_near(cls, error)}") from error


def _near(cls: type[Any], error: OmegaConfBaseException) -> str:
    """Return a sentence that lists the settings similar to an unknown key."""
    if not isinstance(error, ConfigKeyError | ConfigAttributeError):
        return ""
    declared = error.object_type if is_dataclass(error.object_type) else cls
    return did_you_mean(str(error.key), [item.name for item in fields(declared)])
