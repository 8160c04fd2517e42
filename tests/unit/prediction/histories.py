"""Made-up histories with known true values."""

import numpy as np
import pandas as pd

from frm_mlflow.analysis.synthetic import SyntheticRecipe, synthetic_frame

N_MODELS = 26


def history_frame(seed: int = 0, *, devices: int = 12, chip_spread: float = 0.15, noise: float = 0.02) -> pd.DataFrame:
    """Return a history of edge devices, one chip each."""
    recipe = SyntheticRecipe(
        devices={"edge": devices}, n_models=N_MODELS, chip_spread=chip_spread, noise=noise, tier_spread=0.4
    )
    return synthetic_frame(recipe, np.random.default_rng(seed))
