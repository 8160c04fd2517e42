"""Properties for any data: order of models and rows, units, baselines, and unchanged inputs."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from frm_mlflow.analysis.frm import frm, ratio
from frm_mlflow.analysis.frontier_transfer import score_pairs
from frm_mlflow.analysis.options import AnalysisOptions
from frm_mlflow.analysis.pareto import frontier, hypervolume, regret, score
from frm_mlflow.analysis.ranks import ranks, spearman
from frm_mlflow.analysis.registry import run_all
from frm_mlflow.analysis.selection import selection_of
from frm_mlflow.analysis.significance import bonferroni, holm
from frm_mlflow.analysis.synthetic import SyntheticRecipe, synthetic_frame

costs = st.floats(0.001, 1e6)
vectors = arrays(float, st.integers(1, 30), elements=st.integers(1, 12).map(float))
matrices = arrays(
    float, st.tuples(st.integers(2, 5), st.just(7)), elements=st.integers(1, 9).map(float) | st.just(np.nan)
)


@st.composite
def points(draw):
    n = draw(st.integers(1, 40))
    grid = st.integers(0, 9).map(float) | st.just(np.nan)
    return tuple(draw(arrays(float, n, elements=grid)) for _ in range(2))


@given(st.lists(costs, min_size=1, max_size=4), st.floats(0.01, 100))
def test_frm_scales_with_its_components(ratios, factor):
    assert float(frm(*(factor * r for r in ratios))) == pytest.approx(factor * float(frm(*ratios)), rel=1e-9)


@given(st.permutations([0.3, 1.7, 2.5, 0.01]))
def test_frm_does_not_care_about_the_order_of_components(ratios):
    assert float(frm(*ratios)) == pytest.approx(float(frm(0.3, 1.7, 2.5, 0.01)), rel=1e-12)


@given(st.lists(costs, min_size=2, max_size=8))
def test_frm_lies_between_its_smallest_and_largest_component(ratios):
    value = float(frm(*ratios))
    assert min(ratios) * (1 - 1e-9) <= value <= max(ratios) * (1 + 1e-9)


@given(vectors, st.data())
def test_ranks_do_not_depend_on_the_baseline(values, data):
    baseline = data.draw(st.sampled_from(list(values)))
    assert ranks(ratio(values, baseline)).tolist() == ranks(values).tolist()


@given(vectors, costs)
def test_ratios_do_not_depend_on_the_unit(values, factor):
    assert ratio(values * factor, values[0] * factor) == pytest.approx(ratio(values, values[0]), rel=1e-9)


@pytest.mark.parametrize("dominance", ["strict", "any"])
class TestFrontier:
    @given(points=points(), seed=st.integers(0, 99))
    def test_does_not_depend_on_the_order_of_points(self, dominance, points, seed):
        cost, value = points
        order = np.random.default_rng(seed).permutation(cost.size)
        assert (
            frontier(cost[order], value[order], dominance=dominance).tolist()
            == frontier(cost, value, dominance=dominance)[order].tolist()
        )

    @given(points=points())
    def test_does_not_depend_on_units(self, dominance, points):
        cost, value = points
        expected = frontier(cost, value, dominance=dominance).tolist()
        assert frontier(np.exp(cost), 3 * value - 7, dominance=dominance).tolist() == expected

    @given(points=points())
    def test_of_the_frontier_is_the_frontier(self, dominance, points):
        cost, value = points
        mask = frontier(cost, value, dominance=dominance)
        assert frontier(cost[mask], value[mask], dominance=dominance).all()

    @given(points=points())
    def test_every_known_point_is_matched_or_beaten_by_the_frontier(self, dominance, points):
        cost, value = points
        mask = frontier(cost, value, dominance=dominance)
        for c, v in zip(cost, value, strict=True):
            if np.isfinite(c) and np.isfinite(v):
                assert ((cost[mask] <= c) & (value[mask] >= v)).any()

    @given(points=points())
    def test_the_usual_one_is_part_of_the_papers(self, dominance, points):
        del dominance
        cost, value = points
        assert (frontier(cost, value) | ~frontier(cost, value, dominance="any")).all()


@given(points())
def test_the_frontier_has_all_of_the_area_and_no_regret(points):
    cost, value = points
    mask = frontier(cost, value)
    area = hypervolume(cost, value, reference=(20.0, -1.0))
    assert hypervolume(cost[mask], value[mask], reference=(20.0, -1.0)) == pytest.approx(area)
    if mask.any():
        assert regret(mask, cost, value) == 0


@given(arrays(bool, 9), arrays(bool, 9))
def test_f1_is_symmetric_and_between_zero_and_one(one, other):
    found, turned = score(one, other), score(other, one)
    if np.isfinite(found.f1):
        assert 0 <= found.f1 <= 1
        assert (found.f1, found.precision) == (turned.f1, turned.recall)


@given(matrices)
@settings(max_examples=50)
def test_spearman_is_symmetric_and_bounded_and_one_with_itself(values):
    rho, common = spearman(values, values, min_models=3)
    assert np.array_equal(rho, rho.T, equal_nan=True) or rho == pytest.approx(rho.T, nan_ok=True)
    assert np.nanmax(np.abs(rho), initial=0) <= 1
    assert np.array_equal(common, common.T)
    diagonal = np.diag(rho)
    assert diagonal[np.isfinite(diagonal)] == pytest.approx(1)


@given(matrices, st.permutations(range(7)))
@settings(max_examples=50)
def test_spearman_ignores_model_order_and_monotone_units(values, order):
    rho, _ = spearman(values, values, min_models=3)
    assert spearman(values[:, order], values[:, order], min_models=3)[0] == pytest.approx(rho, nan_ok=True)
    assert spearman(np.exp(values), values**3, min_models=3)[0] == pytest.approx(rho, nan_ok=True, abs=1e-6)


@given(matrices, arrays(float, 7, elements=st.integers(50, 60).map(float)))
@settings(max_examples=50)
def test_a_frontier_carried_to_itself_is_right(values, top1):
    accuracy = np.tile(top1, (len(values), 1))
    scores = score_pairs(values, values, accuracy, dominance="strict", min_models=1)
    own = np.isfinite(np.diag(scores.f1))
    assert np.diag(scores.f1)[own] == pytest.approx(1)
    assert np.diag(scores.regret)[own] == pytest.approx(0)
    assert np.diag(scores.failure)[own] == pytest.approx(0)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_corrections_never_lower_p_and_keep_its_order(p):
    for corrected in (holm(p), bonferroni(p)):
        assert (corrected >= np.array(p) - 1e-15).all()
        assert (np.diff(corrected[np.argsort(p, kind="stable")]) >= -1e-15).all()


OPTIONS = AnalysisOptions(resamples=100, shuffles=10)
RECIPE = SyntheticRecipe(devices={"gpu": 2, "edge": 3}, runtimes=("torch", "onnxruntime"), missing=0.1)


def tables_of(frame, **changes):
    report = run_all(frame, options=OPTIONS, rng=np.random.default_rng(0), **changes)
    return {(name, key): table for name, result in report.results.items() for key, table in result.tables.items()}


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    return synthetic_frame(RECIPE, np.random.default_rng(3))


def test_no_analysis_changes_the_frame(frame):
    before = frame.copy()
    tables_of(frame)
    pd.testing.assert_frame_equal(frame, before)


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=5, deadline=None)
def test_the_order_of_rows_changes_nothing(frame, seed):
    expected = tables_of(frame)
    found = tables_of(frame.sample(frac=1, random_state=seed))
    assert found.keys() == expected.keys()
    for key, table in expected.items():
        pd.testing.assert_frame_equal(found[key], table)


@given(factor=st.floats(0.01, 100))
@settings(max_examples=5, deadline=None)
def test_the_unit_of_latency_and_memory_changes_no_rank(frame, factor):
    scaled = frame.assign(latency_ms=frame["latency_ms"] * factor, memory_mib=frame["memory_mib"] * factor)
    one, other = tables_of(frame), tables_of(scaled)
    for key, column in ((("frm", "leaderboard"), "rank"), (("transfer", "sides"), "rho"), (("pareto", "sides"), "f1")):
        assert one[key][column].to_numpy() == pytest.approx(other[key][column].to_numpy(), nan_ok=True)


@given(scales=st.lists(st.floats(0.1, 10), min_size=5, max_size=5))
@settings(max_examples=5, deadline=None)
def test_a_faster_device_changes_no_ratio(frame, scales):
    factor = frame["device"].map(dict(zip(sorted(frame["device"].unique()), scales, strict=True)))
    one, other = tables_of(frame), tables_of(frame.assign(latency_ms=frame["latency_ms"] * factor))
    board = ("frm", "leaderboard")
    assert one[board]["frm"].to_numpy() == pytest.approx(other[board]["frm"].to_numpy(), rel=1e-9)
    tests = ("interaction", "tests")
    assert one[tests]["p"].to_numpy() == pytest.approx(other[tests]["p"].to_numpy(), nan_ok=True)


@given(
    names=st.lists(
        st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12),
        min_size=13,
        max_size=13,
        unique=True,
    )
)
@settings(max_examples=10, deadline=None)
def test_any_name_can_be_a_model(frame, names):
    models = [m for m in sorted(frame["model"].unique()) if m != "resnet50"]
    named = frame.assign(model=frame["model"].replace(dict(zip(models, names, strict=False))))
    if "resnet50" not in names and all(name.strip() for name in names):
        matrix = selection_of(named, OPTIONS).matrix
        assert len(matrix.models) == 13
