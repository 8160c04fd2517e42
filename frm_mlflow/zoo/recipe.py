"""Turns a model's settings into a recipe: the factory that creates the network anywhere without a download.

A recipe is plain data, so it can be stored in an exported model and repeated by a worker: build, then
load the weights stored next to it.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from frm_mlflow.config import ModelConfig
from frm_mlflow.errors import ConfigError, MissingExtraError, ModelError
from frm_mlflow.near import near_names
from frm_mlflow.zoo.catalogue import CATALOGUE, architecture_of

DEFAULT_SIZE = 224


@dataclass(frozen=True)
class Recipe:
    """`factory(**kwargs)` creates the network; `shape` is that of one sample without the batch."""

    target: str
    kwargs: dict[str, Any] = field(default_factory=dict)
    shape: tuple[int, ...] = (3, DEFAULT_SIZE, DEFAULT_SIZE)

    def make(self) -> Any:
        """Return a new network, with the weights that its factory sets.

        Raises
        ------
        ConfigError
            If the factory cannot be imported.
        ModelError
            If it fails or does not return a torch module.
        """
        import torch

        factory = load_factory(self.target)
        try:
            module = factory(**self.kwargs)
        except Exception as error:  # a user's factory may raise anything
            raise ModelError(f"{self.target} with {self.kwargs} fails: {type(error).__name__}: {error}") from error
        if not isinstance(module, torch.nn.Module):
            raise ModelError(f"{self.target} must return a torch.nn.Module, it returned {type(module).__name__}")
        return module.eval()


def load_factory(target: str, *, setting: str = "model.target") -> Callable[..., Any]:
    """Import `package.module:factory`.

    Raises
    ------
    ConfigError
        If the target has a different form or cannot be imported.
    """
    module_name, _, name = target.partition(":")
    if not module_name or not name:
        raise ConfigError(f"{setting} must be package.module:factory, got '{target}'")
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise ConfigError(f"{setting}={target}: '{module_name}' cannot be imported: {error}") from error
    factory = getattr(module, name, None)
    if not callable(factory):
        raise ConfigError(f"{setting}={target}: module '{module_name}' has no callable '{name}'")
    return factory  # type: ignore[no-any-return]


def recipe_for(config: ModelConfig) -> Recipe:
    """Return the recipe of the network in `config`.

    Raises
    ------
    ConfigError
        If the name is unknown (similar valid names are listed) or the source has no factory.
    """
    makers = _LIBRARIES | {"target": _target}
    if config.source not in makers:
        raise ConfigError(f"model.source={config.source} has no factory; use one of {', '.join(makers)}")
    return makers[config.source](config)


def check_name(config: ModelConfig) -> None:
    """Reject a name that its library does not have; names in the catalogue are checked without importing the library.

    Raises
    ------
    ConfigError
        If the name is unknown, with similar valid names.
    MissingExtraError
        If the library is not installed.
    """
    facts = CATALOGUE.get(config.name)
    is_published = facts is not None and facts.source == config.source and config.architecture is None
    if is_published or config.source not in _LIBRARIES:
        return
    try:
        _LIBRARIES[config.source](config)
    except ModuleNotFoundError as error:
        raise MissingExtraError(str(error.name), "bench", f"model.source={config.source}") from error


def _torchvision(config: ModelConfig) -> Recipe:
    import torchvision

    name = architecture_of(config)
    classifiers = torchvision.models.list_models(module=torchvision.models)
    if name not in classifiers:
        raise _unknown(name, "torchvision", classifiers)
    native = torchvision.models.get_model_weights(name).DEFAULT.transforms.keywords["crop_size"]
    size = config.input_size or native
    kwargs: dict[str, Any] = {"name": name, "weights": None}
    if name in ("inception_v3", "googlenet"):
        # The auxiliary heads are used only in training, and the library's weight initialisation takes half a minute.
        kwargs |= {"aux_logits": False, "init_weights": False}
    if name.startswith("vit_") and size != native:
        kwargs["image_size"] = size
    return Recipe("torchvision.models:get_model", kwargs | config.kwargs, _shape(config, (3, size, size)))


def _timm(config: ModelConfig) -> Recipe:
    import timm

    name = architecture_of(config)
    if not timm.is_model(name):
        raise _unknown(name, "timm", timm.list_models())
    published = timm.models.get_pretrained_cfg(name)
    channels, native, _ = published.input_size if published is not None else (3, DEFAULT_SIZE, DEFAULT_SIZE)
    size = config.input_size or native
    kwargs: dict[str, Any] = {"model_name": name, "pretrained": False}
    if size != native and published is not None and published.fixed_input_size:
        kwargs["img_size"] = size
    return Recipe("timm:create_model", kwargs | config.kwargs, _shape(config, (channels, size, size)))


def _target(config: ModelConfig) -> Recipe:
    size = config.input_size or DEFAULT_SIZE
    return Recipe(str(config.target), dict(config.kwargs), _shape(config, (3, size, size)))


def _shape(config: ModelConfig, native: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(config.input_shape) if config.input_shape else native


def _unknown(name: str, source: str, valid: Iterable[str]) -> ConfigError:
    names = list(valid)
    similar = near_names(name, [*CATALOGUE, *names])
    facts = CATALOGUE.get(name)
    hint = f"in the catalogue '{name}' has model.source={facts.source}. " if facts is not None else ""
    hint += f"Similar names: {', '.join(similar)}. " if similar else ""
    return ConfigError(
        f"{source} has no image classifier '{name}' (of {len(names)}). {hint}The catalogue: {', '.join(CATALOGUE)}."
    )


_LIBRARIES: dict[str, Callable[[ModelConfig], Recipe]] = {"torchvision": _torchvision, "timm": _timm}
