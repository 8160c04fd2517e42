"""Builds a network without a download, with weights that are suitable for measurement."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from frm_mlflow.config import ModelConfig
from frm_mlflow.errors import ConfigError, FrmError, ModelError
from frm_mlflow.worker.manifest import TensorSpec
from frm_mlflow.zoo import fit
from frm_mlflow.zoo.call import Call, calls_of
from frm_mlflow.zoo.inputs import draw, inputs_of, picture_side
from frm_mlflow.zoo.recipe import Recipe, load_factory, recipe_for
from frm_mlflow.zoo.samples import REFERENCE_SEED, images

CALIBRATION_BATCH = 8


@dataclass(frozen=True)
class BuiltModel:
    """A network in eval mode, its inputs and the recipe that recreates it (None for a file).

    `call` is the measured call, if it is something other than an image.
    """

    name: str
    module: nn.Module
    recipe: Recipe | None
    inputs: tuple[TensorSpec, ...]
    weights: str
    call: Call | None = field(default=None, compare=False)

    @property
    def input_size(self) -> int | None:
        """Return the side of the image in pixels; None for a network with other inputs."""
        return picture_side(self.inputs[0].shape) if self.inputs else None

    def example(self, *, seed: int = 0) -> Tensor:
        """Return one fixed input batch of the model's shape."""
        batch, *shape = self.inputs[0].shape
        return torch.from_numpy(images(batch, tuple(shape), rng=np.random.default_rng(seed)))


def build(config: ModelConfig, *, batch_size: int = 1) -> BuiltModel:
    """Build the network in `config`, seeded with `config.seed`.

    Raises
    ------
    ConfigError
        If the name is unknown or the factory cannot be imported.
    ModelError
        If the network cannot be built or run, or its weights cannot be made suitable for measurement.
    """
    recipe = recipe_for(config)
    weights = config.weights or ("own" if config.source == "target" else "random")
    is_special = bool(config.inputs) or config.example is not None
    try:
        module = _build(config, recipe, weights)
        if is_special:
            call = _call(config, module, batch_size=batch_size, seed=REFERENCE_SEED)
        else:
            call = _call(config, module, batch_size=1, seed=config.seed, shape=recipe.shape)
        fit.check(module, call, name=config.name)
    except FrmError:
        raise
    except Exception as error:  # a user's network may raise anything
        shape = ", ".join(config.inputs) if config.inputs else config.example or "x".join(map(str, recipe.shape))
        reason = " ".join(str(error).split())[:300]
        raise ModelError(
            f"'{config.name}' cannot run on an input of {shape}: {type(error).__name__}: {reason}. "
            "Set model.input_size or model.input_shape to what the network takes, model.inputs for several inputs or "
            "integers, or model.example=module:function for nested ones."
        ) from error
    if is_special:
        return BuiltModel(config.name, module, recipe, (), weights, call)
    inputs = (TensorSpec("input", (batch_size, *recipe.shape), "float32"),)
    return BuiltModel(name=config.name, module=module, recipe=recipe, inputs=inputs, weights=weights)


def _build(config: ModelConfig, recipe: Recipe, weights: str) -> nn.Module:
    """Create the network twice: adjust the weights of one and load only these into the other, as a worker does."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        drawn: nn.Module = recipe.make()
        if weights == "own":
            return drawn
        batch = _call(config, drawn, batch_size=CALIBRATION_BATCH, seed=config.seed, shape=recipe.shape)
        fit.make_fit(drawn, batch, generator=torch.Generator().manual_seed(config.seed))
        module: nn.Module = recipe.make()
    module.load_state_dict(drawn.state_dict())
    return module.eval()


def _call(config: ModelConfig, module: nn.Module, *, batch_size: int, seed: int, shape: tuple[int, ...] = ()) -> Call:
    """Return one call of `module`: from the user's example, from the specified inputs, or with images."""
    rng = np.random.default_rng(seed)
    if config.example is not None:
        return first_that_runs(module, calls_of(module, load_factory(config.example, setting="model.example")()))
    if not config.inputs:
        return Call((torch.from_numpy(images(batch_size, shape, rng=rng)),))
    tables = [table.num_embeddings for table in module.modules() if isinstance(table, nn.Embedding | nn.EmbeddingBag)]
    inputs = inputs_of(config, batch_size=batch_size, largest=min(tables) - 1 if tables else None)
    if any(one.dtype == "str" for one in inputs):
        raise ConfigError("model.inputs: a torch module takes no text; give it token ids (dtype: int64)")
    arrays = draw(inputs, rng=rng)
    tensors = {one.name: torch.from_numpy(np.array(array)) for one, array in zip(inputs, arrays, strict=True)}
    by_name = calls_of(module, tensors)
    return first_that_runs(module, (*by_name, Call(tuple(tensors.values()))))


def first_that_runs(module: nn.Module, calls: tuple[Call, ...]) -> Call:
    """Return the first of `calls` that the module accepts; raise the error of the first one if it accepts none."""
    first: Exception | None = None
    for call in calls:
        try:
            with torch.no_grad():
                call.of(module)
        except Exception as error:  # a user's network may raise anything
            first = first or error
        else:
            return call
    raise first if first is not None else ConfigError("there is no example input")
