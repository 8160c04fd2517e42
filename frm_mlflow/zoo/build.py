"""Build a network without download, with weights that are fit to be measured."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from frm_mlflow.config import ModelConfig
from frm_mlflow.errors import FrmError, ModelError
from frm_mlflow.worker.manifest import TensorSpec
from frm_mlflow.zoo import fit
from frm_mlflow.zoo.recipe import Recipe, recipe_for
from frm_mlflow.zoo.samples import images

CALIBRATION_BATCH = 8


@dataclass(frozen=True)
class BuiltModel:
    """A network in eval mode, the inputs that it takes and the recipe that makes it again (None for a `.pt2` file)."""

    name: str
    module: nn.Module
    recipe: Recipe | None
    inputs: tuple[TensorSpec, ...]
    weights: str

    @property
    def input_size(self) -> int:
        """Side of the input in pixels (its last axis)."""
        return self.inputs[0].shape[-1]

    def example(self, *, seed: int = 0) -> Tensor:
        """Return one fixed input batch of the model's shape."""
        batch, *shape = self.inputs[0].shape
        return torch.from_numpy(images(batch, tuple(shape), rng=np.random.default_rng(seed)))


def build(config: ModelConfig, *, batch_size: int = 1) -> BuiltModel:
    """Build the network that `config` names, seeded by `config.seed`.

    Raises
    ------
    ConfigError
        For an unknown name or a factory that cannot be imported.
    ModelError
        Where the network cannot be built or run, or its weights cannot be made fit.
    """
    recipe = recipe_for(config)
    weights = config.weights or ("own" if config.source == "target" else "random")
    batch = torch.from_numpy(images(CALIBRATION_BATCH, recipe.shape, rng=np.random.default_rng(config.seed)))
    try:
        module = _build(recipe, weights, batch, seed=config.seed)
        fit.check(module, batch[:1], name=config.name)
    except FrmError:
        raise
    except Exception as error:
        shape = "x".join(map(str, recipe.shape))
        raise ModelError(
            f"'{config.name}' cannot run on an input of {shape}: {type(error).__name__}: {error}. "
            "Set model.input_size or model.input_shape to what the network takes."
        ) from error
    inputs = (TensorSpec("input", (batch_size, *recipe.shape), "float32"),)
    return BuiltModel(name=config.name, module=module, recipe=recipe, inputs=inputs, weights=weights)


def _build(recipe: Recipe, weights: str, batch: Tensor, *, seed: int) -> nn.Module:
    """Make the network twice: one is made fit, the other takes its weights and nothing else, as a worker's will."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        drawn: nn.Module = recipe.make()
        if weights == "own":
            return drawn
        fit.make_fit(drawn, batch, generator=torch.Generator().manual_seed(seed))
        module: nn.Module = recipe.make()
    module.load_state_dict(drawn.state_dict())
    return module.eval()
