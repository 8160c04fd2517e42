import numpy as np
import pytest

from frm_mlflow.analysis.controls import control_sample, metrics, shuffled, shuffled_frm
from frm_mlflow.analysis.ranks import spearman


def test_shuffling_permutes_values_and_leaves_gaps_in_place(rng):
    values = np.where(rng.random((20, 9)) < 0.3, np.nan, rng.random((20, 9)))
    dealt = shuffled(values, rng)
    assert np.isnan(dealt).tolist() == np.isnan(values).tolist()
    assert np.sort(dealt, axis=1) == pytest.approx(np.sort(values, axis=1), nan_ok=True)
    assert not np.array_equal(dealt, values, equal_nan=True)


def test_every_order_is_as_likely(rng):
    dealt = shuffled(np.tile([1.0, np.nan, 2.0, 3.0], (6000, 1)), rng)
    _, counts = np.unique(dealt[:, [0, 2, 3]], axis=0, return_counts=True)
    assert len(counts) == 6
    assert counts.min() > 850


def test_shuffled_frm_keeps_flops_and_missing_cells(small, rng):
    matrix = small.comparable
    frm = matrix.frm()
    for values in shuffled_frm(matrix, repeats=3, rng=rng):
        assert np.isfinite(values).tolist() == np.isfinite(frm).tolist()
        # The product over a configuration's models does not depend on which model got which latency.
        assert np.nansum(np.log(values), axis=1) == pytest.approx(np.nansum(np.log(frm), axis=1))


def test_only_the_named_component_is_shuffled(small, rng):
    matrix = small.comparable
    [values] = shuffled_frm(matrix, ("latency",), repeats=1, rng=rng)
    ratios = matrix.ratios()
    latency = values**3 / ratios["flops"] / ratios["memory"]
    assert np.sort(latency, axis=1) == pytest.approx(np.sort(ratios["latency"], axis=1), nan_ok=True)


def test_shuffled_control_has_no_stability_if_flops_are_equal(paper, rng):
    from dataclasses import replace

    matrix = replace(paper.comparable, gmacs=np.ones_like(paper.comparable.gmacs))
    rho = [
        np.nanmean(spearman(v, v, min_models=5)[0][np.triu_indices(106, 1)])
        for v in shuffled_frm(matrix, repeats=5, rng=rng)
    ]
    assert np.abs(np.mean(rho)) < 0.02


def test_metrics_are_scored_on_the_cells_of_frm(small):
    matrix = small.comparable
    known = np.isfinite(matrix.frm())
    assert all(np.isfinite(values).tolist() == known.tolist() for values in metrics(matrix).values())


def test_large_tiers_are_sampled_and_small_ones_kept(paper, rng):
    matrix = paper.comparable
    rows = control_sample(matrix, rng, per_side=10)
    tiers, counts = np.unique(matrix.tiers[rows].astype(str), return_counts=True)
    assert dict(zip(tiers.tolist(), counts.tolist(), strict=True)) == {"cpu": 4, "edge": 10, "gpu": 8}
    assert np.unique(rows).size == rows.size
