import naive_twins
import numpy as np
import pandas as pd
import pytest

from frm_mlflow.analysis.options import AnalysisOptions
from frm_mlflow.analysis.selection import Selection, selection_of
from frm_mlflow.analysis.synthetic import SyntheticRecipe, paper_sized_frame, synthetic_frame


@pytest.fixture(scope="session")
def options() -> AnalysisOptions:
    return AnalysisOptions(resamples=300, shuffles=10, quantised_accuracy="float")


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture(scope="session")
def small_frame() -> pd.DataFrame:
    """Three tiers, two runtimes, two precisions and some missing benchmarks: small enough for nested loops."""
    recipe = SyntheticRecipe(
        devices={"gpu": 3, "cpu": 1, "edge": 4},
        runtimes=("torch", "onnxruntime"),
        precisions=("fp32", "int8"),
        missing=0.15,
    )
    return synthetic_frame(recipe, np.random.default_rng(1))


@pytest.fixture(scope="session")
def small(small_frame, options) -> Selection:
    return selection_of(small_frame, options)


@pytest.fixture(scope="session")
def naive(small_frame) -> pd.DataFrame:
    return naive_twins.with_frm(small_frame)


@pytest.fixture(scope="session")
def paper_frame() -> pd.DataFrame:
    return paper_sized_frame(np.random.default_rng(2))


@pytest.fixture(scope="session")
def paper(paper_frame, options) -> Selection:
    """The made-up 13 x 106 matrix."""
    return selection_of(paper_frame, options)
