import naive_twins
import numpy as np
import pandas as pd
import pytest

from frm_mlflow.analysis.options import AnalysisOptions
from frm_mlflow.analysis.selection import Selection, select_fleet
from frm_mlflow.analysis.synthetic import FleetRecipe, made_up_fleet, paper_fleet


@pytest.fixture(scope="session")
def options() -> AnalysisOptions:
    return AnalysisOptions(resamples=300, shuffles=10, quantised_accuracy="float")


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture(scope="session")
def small_frame() -> pd.DataFrame:
    """Three tiers, two runtimes, two precisions and some missing benchmarks: small enough for nested loops."""
    recipe = FleetRecipe(
        devices={"gpu": 3, "cpu": 1, "edge": 4},
        runtimes=("torch", "onnxruntime"),
        precisions=("fp32", "int8"),
        missing=0.15,
    )
    return made_up_fleet(recipe, np.random.default_rng(1))


@pytest.fixture(scope="session")
def small(small_frame, options) -> Selection:
    return select_fleet(small_frame, options)


@pytest.fixture(scope="session")
def naive(small_frame) -> pd.DataFrame:
    return naive_twins.with_frm(small_frame)


@pytest.fixture(scope="session")
def paper_frame() -> pd.DataFrame:
    return paper_fleet(np.random.default_rng(2))


@pytest.fixture(scope="session")
def paper(paper_frame, options) -> Selection:
    """The made-up 13 x 106 fleet."""
    return select_fleet(paper_frame, options)
