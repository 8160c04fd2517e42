"""Properties of predictions that hold for any numbers."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from frm_mlflow.analysis.pareto import frontier, memberships
from frm_mlflow.prediction.belief import Belief
from frm_mlflow.prediction.learning import weighted_quantile
from frm_mlflow.prediction.prior import mean_profile

SEEDS = st.integers(0, 2**32 - 1)


def belief_of(rng: np.random.Generator, models: int) -> Belief:
    return Belief(
        location=rng.normal(size=models),
        factor=rng.normal(size=(models, int(rng.integers(0, 5)))),
        diagonal=rng.uniform(1e-4, 1, models),
        dof=float(rng.uniform(2.5, 30)),
        measured=np.zeros(models, dtype=bool),
    )


@given(SEEDS, st.integers(2, 12))
@settings(max_examples=60, deadline=None)
def test_the_order_of_anchors_does_not_matter(seed: int, models: int) -> None:
    rng = np.random.default_rng(seed)
    belief = belief_of(rng, models)
    anchors = rng.permutation(models)[: int(rng.integers(1, models + 1))]
    values = rng.normal(size=anchors.size)
    order = rng.permutation(anchors.size)
    one = belief.given(anchors, values, noise_sd=0.05)
    other = belief.given(anchors[order], values[order], noise_sd=0.05)
    np.testing.assert_allclose(one.location, other.location, atol=1e-7)
    np.testing.assert_allclose(one.scale, other.scale, atol=1e-7)


@given(SEEDS, st.integers(2, 12))
@settings(max_examples=60, deadline=None)
def test_an_unsurprising_anchor_never_widens_a_gaussian_belief(seed: int, models: int) -> None:
    rng = np.random.default_rng(seed)
    belief = belief_of(rng, models)
    gaussian = Belief(
        location=belief.location, factor=belief.factor, diagonal=belief.diagonal, measured=belief.measured
    )
    after = gaussian.given(np.array([0]), np.array([rng.normal()]), noise_sd=0.05)
    assert (after.scale <= gaussian.scale + 1e-9).all()


@given(SEEDS, st.integers(1, 15), st.booleans())
@settings(max_examples=100, deadline=None)
def test_memberships_are_frontiers_and_follow_permutations(seed: int, models: int, ties: bool) -> None:
    rng = np.random.default_rng(seed)
    draws = rng.integers(0, 4, (8, models)).astype(float) if ties else rng.normal(size=(8, models))
    values = rng.integers(0, 4, models).astype(float) if ties else rng.normal(size=models)
    before = draws.copy(), values.copy()
    found = memberships(draws, values)
    order = rng.permutation(models)
    np.testing.assert_array_equal(memberships(draws[:, order], values[order]), found[:, order])
    for draw, members in zip(draws, found, strict=True):
        np.testing.assert_array_equal(members, frontier(draw, values))
    np.testing.assert_array_equal(draws, before[0])
    np.testing.assert_array_equal(values, before[1])


@given(st.lists(st.tuples(st.floats(0, 10), st.floats(0.01, 5)), min_size=1, max_size=30), st.floats(0.01, 1))
def test_weighted_quantile_is_the_smallest_value_at_its_level(pairs, level) -> None:
    values, weights = (np.array(part) for part in zip(*pairs, strict=True))
    found = weighted_quantile(values, weights, level)
    total = weights.sum()
    assert weights[values <= found].sum() / total >= level - 1e-9
    assert weights[values < found].sum() / total < level + 1e-9


@given(SEEDS, st.integers(2, 7), st.integers(2, 9))
@settings(max_examples=60, deadline=None)
def test_profiles_do_not_see_levels(seed: int, rows: int, models: int) -> None:
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(rows, models))
    weights = rng.uniform(0.1, 1, rows)
    profile, level = mean_profile(values, weights)
    moved, moved_level = mean_profile(values + np.arange(rows)[:, None], weights)
    np.testing.assert_allclose(profile, moved, atol=1e-8)
    np.testing.assert_allclose(moved_level - level, np.arange(rows), atol=1e-8)
