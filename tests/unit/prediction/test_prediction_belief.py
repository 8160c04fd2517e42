"""The low-rank t distribution against dense algebra and SciPy."""

import numpy as np
import pytest
from scipy.stats import multivariate_t

from frm_mlflow.prediction.belief import Belief


def made_up(rng: np.random.Generator, *, models: int = 8, rank: int = 3, dof: float = 6.0) -> Belief:
    return Belief(
        location=rng.normal(size=models),
        factor=rng.normal(size=(models, rank)),
        diagonal=rng.uniform(0.1, 0.5, models),
        dof=dof,
        measured=np.zeros(models, dtype=bool),
    )


def dense(belief: Belief) -> np.ndarray:
    return belief.factor @ belief.factor.T + np.diag(belief.diagonal)


@pytest.mark.parametrize("dof", [6.0, np.inf])
def test_conditioning_equals_the_textbook_formula(dof: float) -> None:
    rng = np.random.default_rng(0)
    belief = made_up(rng, dof=dof)
    anchors, values, noise = np.array([1, 4, 6]), rng.normal(size=3), 0.1
    rest = np.array([0, 2, 3, 5, 7])
    covariance = dense(belief)
    system = covariance[np.ix_(anchors, anchors)] + noise**2 * np.eye(3)
    gain = covariance[np.ix_(rest, anchors)] @ np.linalg.inv(system)
    residual = values - belief.location[anchors]
    widening = 1.0 if np.isinf(dof) else (dof + residual @ np.linalg.inv(system) @ residual) / (dof + 3)
    expected = widening * (covariance[np.ix_(rest, rest)] - gain @ covariance[np.ix_(anchors, rest)])

    after = belief.given(anchors, values, noise_sd=noise)

    np.testing.assert_allclose(after.location[rest], belief.location[rest] + gain @ residual)
    np.testing.assert_allclose(dense(after)[np.ix_(rest, rest)], expected)
    np.testing.assert_array_equal(after.location[anchors], values)
    assert after.dof == dof + 3
    assert after.measured.sum() == 3


def test_conditional_density_is_the_quotient_of_scipys() -> None:
    rng = np.random.default_rng(1)
    belief = made_up(rng, models=4, dof=5.0)
    value, other = 0.7, 0.2
    joint = multivariate_t(belief.location[:2], dense(belief)[:2, :2], df=5.0)
    marginal = multivariate_t(belief.location[:1], dense(belief)[:1, :1], df=5.0)
    after = belief.given(np.array([0]), np.array([value]), noise_sd=0.0)
    conditional = multivariate_t(after.location[1:2], dense(after)[1:2, 1:2], df=after.dof)
    assert conditional.pdf(other) == pytest.approx(joint.pdf([value, other]) / marginal.pdf(value))


def test_draws_have_the_stated_location_and_covariance() -> None:
    belief = made_up(np.random.default_rng(2), dof=np.inf)
    draws = belief.draws(200_000, np.random.default_rng(3))
    np.testing.assert_allclose(draws.mean(axis=0), belief.location, atol=0.02)
    np.testing.assert_allclose(np.cov(draws.T), dense(belief), atol=0.1)


def test_intervals_agree_with_probability_below() -> None:
    belief = made_up(np.random.default_rng(4))
    low, high = belief.interval(0.9)
    for model in range(len(low)):
        assert belief.probability_below(high[model])[model] == pytest.approx(0.95)
        assert belief.probability_below(low[model])[model] == pytest.approx(0.05)
    np.testing.assert_allclose(belief.quantiles(np.array([0.05, 0.95])), [low, high])


def test_measured_models_are_certain_and_stay_so_when_widened() -> None:
    belief = made_up(np.random.default_rng(5)).given(np.array([2]), np.array([1.5]), noise_sd=0.02).scaled(3.0)
    assert belief.scale[2] == 0
    assert belief.probability_below(1.5)[2] == 1
    assert belief.probability_below(1.4)[2] == 0


def test_surprise_is_uniform_when_anchors_come_from_the_belief() -> None:
    rng = np.random.default_rng(6)
    belief = made_up(rng, dof=5.0)
    anchors = np.array([0, 3, 5])
    p = [belief.surprise(anchors, draw[anchors], noise_sd=0.0) for draw in belief.draws(2000, rng)]
    assert np.quantile(p, [0.1, 0.5, 0.9]) == pytest.approx([0.1, 0.5, 0.9], abs=0.05)


def test_no_anchor_changes_nothing() -> None:
    belief = made_up(np.random.default_rng(7))
    assert belief.given(np.zeros(0, dtype=int), np.zeros(0), noise_sd=0.1) is belief
