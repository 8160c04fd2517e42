"""Names and order do not affect any number: devices, chips and models are renamed, rows shuffled."""

import numpy as np
import pandas as pd
import pytest

from frm_mlflow.analysis.options import AnalysisOptions
from frm_mlflow.analysis.registry import ANALYSES, run_all
from frm_mlflow.analysis.synthetic import SyntheticRecipe, synthetic_frame

NAMED = [name for name in ANALYSES if name != "paper"]
"""All analyses except the paper's tables, which look up models and devices by name."""
NAMES = ("device", "chip", "model")


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    """Return a frame with two runtimes; costs are rounded so that models tie."""
    recipe = SyntheticRecipe(devices={"gpu": 3, "edge": 4}, runtimes=("torch", "onnxruntime"), missing=0.1)
    made = synthetic_frame(recipe, np.random.default_rng(3))
    return made.assign(memory_mib=made["memory_mib"].round(-1).clip(lower=10))


def numbers(frame, baseline):
    """Return every table's numbers, with rows in an order that does not depend on names."""
    options = AnalysisOptions(baseline=baseline, baselines=[baseline], resamples=100, shuffles=10)
    report = run_all(frame, NAMED, options=options, rng=np.random.default_rng(0))
    return {
        (name, key): np.sort(np.nan_to_num(_numeric(table), nan=-1e9).ravel())
        for name, result in report.results.items()
        for key, table in result.tables.items()
    }


def _numeric(table):
    return table.select_dtypes("number").to_numpy(dtype=float)


def renamed(frame, seed):
    """Return the frame with other names and rows in another order, and the baseline's new name."""
    rng = np.random.default_rng(seed)
    maps = {}
    for column in NAMES:
        names = sorted(frame[column].unique())
        maps[column] = dict(zip(names, rng.permutation([f"n{k}" for k in range(len(names))]), strict=True))
    changed = frame.assign(**{column: frame[column].map(names) for column, names in maps.items()})
    order = rng.permutation(len(frame))
    return changed.iloc[order].reset_index(drop=True), str(maps["model"]["resnet50"])


@pytest.fixture(scope="module")
def expected(frame):
    return numbers(frame, "resnet50")


@pytest.mark.parametrize("seed", [0, 1])
def test_renaming_and_reordering_change_no_number(frame, expected, seed):
    found = numbers(*renamed(frame, seed))
    assert found.keys() == expected.keys()
    assert {name for name, _ in expected} >= set(NAMED) - {"sensitivity"}  # no two rows differ in only one of its axes
    for key, values in expected.items():
        assert found[key] == pytest.approx(values, rel=1e-9, abs=1e-9), key
