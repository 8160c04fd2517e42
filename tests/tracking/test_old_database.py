"""A database written by version 0.1.0 is read as in 0.1.0.

`tests/data/logged_by_0.1.0/README.md` names the commands that wrote it. `frame.csv` is the result of 0.1.0's own query.
"""

import lzma
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient

from frm_mlflow.analysis.options import AnalysisOptions
from frm_mlflow.analysis.registry import run_all
from frm_mlflow.prediction import PredictionOptions, Target, predict
from frm_mlflow.tracking import server
from frm_mlflow.tracking.query import benchmarks

DATA = Path(__file__).parent.parent / "data" / "logged_by_0.1.0"
EXPERIMENTS = ("elsewhere", "here", "training")


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowClient]:
    path = tmp_path_factory.mktemp("old") / "mlflow.db"
    path.write_bytes(lzma.decompress((DATA / "mlflow.db.xz").read_bytes()))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(path.parent))
        yield server.connect(f"sqlite:///{path}")


@pytest.fixture(scope="module")
def frame(client: MlflowClient) -> pd.DataFrame:
    return benchmarks(client, EXPERIMENTS, cached=False).frame


def test_old_runs_are_read_with_the_same_values(frame) -> None:
    old = pd.read_csv(DATA / "frame.csv.xz", dtype={"experiment_id": str}).set_index("run_id")
    new = frame.set_index("run_id").loc[old.index]
    assert set(old.columns) <= set(new.columns)
    for column in old.columns.drop(["start_time", "end_time"]):
        if pd.api.types.is_numeric_dtype(old[column]) and not old[column].isna().all():
            np.testing.assert_array_equal(new[column].astype(float), old[column].astype(float), err_msg=column)
        else:
            assert words(new[column]) == words(old[column]), column


def words(column: pd.Series) -> list[str]:
    """Return the texts, with "" for missing ones."""
    return ["" if pd.isna(value) else str(value) for value in column]


def test_old_runs_are_analysed(frame) -> None:
    report = run_all(frame, options=AnalysisOptions(resamples=100, shuffles=10), rng=np.random.default_rng(0))
    assert "stability" in report.results
    assert "frm" in report.results


def test_old_runs_predict_a_new_device(frame) -> None:
    target = Target(device="jetson_agx_orin", tier="edge", runtime="onnxruntime", precision="fp32", compute_unit="cpu")
    prediction = predict(frame, target, PredictionOptions(draws=100), np.random.default_rng(0))
    assert prediction.sources.n_configurations >= 8
    assert np.isfinite(prediction.latency.location).all()
