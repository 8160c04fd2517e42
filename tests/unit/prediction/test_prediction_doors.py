"""The entry points: predict, recommend, plan and evaluate on histories with known true values."""

from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from omegaconf import OmegaConf

from frm_mlflow.analysis.pareto import frontier
from frm_mlflow.errors import ConfigError, DataError
from frm_mlflow.prediction import (
    Constraints,
    EvaluationOptions,
    PlanOptions,
    PredictionOptions,
    Target,
    evaluate,
    plan,
    predict,
    recommend,
)
from frm_mlflow.prediction.prediction import nearest_chips
from tests.unit.prediction.histories import history_frame

TRANSFER = PredictionOptions(predictor="transfer", draws=300)
ANCHORS = ["resnet50", "mobilenet_v2", "densenet121", "levit_128s", "efficientnet_b0_v1"]


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    return history_frame()


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def truth_of(frame: pd.DataFrame, device: str) -> pd.Series:
    return frame[frame["device"] == device].set_index("model")["latency_ms"]


def test_anchors_are_kept_and_the_rest_is_close(frame, rng) -> None:
    found = predict(frame, Target(device="edge-003"), TRANSFER, rng, anchors=ANCHORS)
    models = found.tables()["models"].set_index("model")
    truth = truth_of(frame, "edge-003")
    assert models.loc[ANCHORS, "latency_ms"].to_numpy() == pytest.approx(truth[ANCHORS].to_numpy())
    error = np.abs(np.log(models["latency_ms"] / truth.reindex(models.index)))[~models["measured"]]
    assert error.median() < 0.25
    assert len(found.anchors) == 5


def test_the_held_back_benchmarks_do_not_leak(frame, rng) -> None:
    doubled = frame.copy()
    hidden = (doubled["device"] == "edge-003") & ~doubled["model"].isin(ANCHORS)
    doubled.loc[hidden, "latency_ms"] *= 7
    same = [
        predict(f, Target(device="edge-003"), TRANSFER, np.random.default_rng(0), anchors=ANCHORS).latency.location
        for f in (frame, doubled)
    ]
    np.testing.assert_array_equal(*same)


def test_without_anchors_there_are_ratios_and_no_milliseconds(frame, rng) -> None:
    found = predict(frame, Target(device="edge-003"), TRANSFER, rng, anchors=[])
    models = found.tables()["models"]
    assert models["latency_ms"].isna().all()
    assert models["ratio_latency"].notna().all()
    assert any("not ms" in sentence for sentence in found.summary())


def test_a_target_in_the_history_is_reported(frame, rng) -> None:
    found = predict(frame, Target(device="edge-003"), TRANSFER, rng)
    assert any("is in the history" in sentence and "evaluate=true" in sentence for sentence in found.summary())
    truth = truth_of(frame, "edge-003").reindex(list(found.sources.models))
    expected = frontier(truth.to_numpy(), found.sources.facts.top1)
    np.testing.assert_array_equal(found.frontier, expected)
    np.testing.assert_array_equal(found.on_frontier > 0.5, expected)


def test_anchors_given_by_hand(frame, rng) -> None:
    truth = truth_of(frame, "edge-003")
    by_hand = {name: float(truth[name]) for name in ANCHORS}
    found = predict(frame, Target(device="an unreleased phone", tier="edge"), TRANSFER, rng, anchors=by_hand)
    assert found.absolute
    assert found.target.runtime == "onnxruntime"
    assert any("Assumed" in sentence for sentence in found.summary())


def test_contradicting_anchors_are_flagged(frame, rng) -> None:
    honest = {"resnet50": 100.0, "mobilenet_v2": 15.0}
    absurd = {"resnet50": 1.0, "mobilenet_v2": 900.0}
    for anchors, flagged in ((honest, False), (absurd, True)):
        found = predict(frame, Target(device="new", tier="edge"), TRANSFER, rng, anchors=anchors)
        assert any("contradict" in sentence for sentence in found.summary()) is flagged


def test_one_source_device_leaves_intervals_uncalibrated(rng) -> None:
    found = predict(history_frame(devices=1), Target(device="new"), TRANSFER, rng, anchors={"resnet50": 50.0})
    assert found.calibration.chips == 0
    text = " ".join(found.summary())
    assert "only one source chip" in text
    assert "not calibrated" in text


def test_one_model_only(frame, rng) -> None:
    found = predict(frame[frame["model"] == "resnet50"], Target(device="new"), TRANSFER, rng)
    assert found.frontier.tolist() == [True]
    assert found.on_frontier.tolist() == [1.0]


def test_models_without_accuracy_are_predicted_off_the_frontier(frame, rng) -> None:
    blind = frame.assign(top1=frame["top1"].where(frame["model"] != "resnet18"))
    found = predict(blind, Target(device="new"), TRANSFER, rng)
    where = found.sources.models.index("resnet18")
    assert np.isfinite(found.latency.location[where])
    assert found.on_frontier[where] == 0
    assert "no accuracy" in found.advice.flags[where]


def test_a_tier_that_no_source_has_is_flagged(frame, rng) -> None:
    found = predict(frame, Target(device="new", tier="gpu", compute_unit="gpu"), TRANSFER, rng)
    assert any("No source has tier gpu" in sentence for sentence in found.summary())


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"sources": ["no such device"]}, "no such device"),
        ({"anchors": ["no_such_model"]}, "no_such_model"),
        ({"anchors": {"resnet50": -1.0}}, "above 0"),
    ],
)
def test_unknown_names_and_impossible_values_are_refused(frame, rng, keywords, message) -> None:
    with pytest.raises(DataError, match=message):
        predict(frame, Target(device="new"), TRANSFER, rng, **keywords)


def test_a_history_of_the_target_alone_is_refused(rng) -> None:
    with pytest.raises(DataError, match="nothing to predict"):
        predict(history_frame(devices=1), Target(device="edge-000"), TRANSFER, rng)


@pytest.mark.parametrize(
    "predictor", ["auto", "ridge", "static", "mean_of_sources", "single_source", "flops", "algorithm1"]
)
def test_every_predictor_answers(predictor, rng) -> None:
    options = PredictionOptions(predictor=predictor, draws=100)
    found = predict(history_frame(devices=6), Target(device="edge-001"), options, rng, anchors=ANCHORS)
    assert np.isfinite(found.latency.location).all()
    assert found.choice is None or found.choice.name == found.predictor


def test_recommended_is_the_most_accurate_that_surely_fits(frame, rng) -> None:
    prediction = predict(frame, Target(device="edge-003"), TRANSFER, rng, anchors=ANCHORS)
    budget = float(np.exp(np.median(prediction.latency.location)))
    found = recommend(prediction, Constraints(max_latency_ms=budget))
    fits = found.probability >= 0.9
    assert found.picked == np.flatnonzero(fits)[np.argmax(prediction.sources.facts.top1[fits])]
    assert found.prediction.sources.facts.gmacs[found.flops_pick] == prediction.sources.facts.gmacs.min()
    assert found.tables()["candidates"]["picked"].tolist()[0]


def test_flops_pick_is_the_accurate_model_with_least_flops(frame, rng) -> None:
    prediction = predict(frame, Target(device="edge-003"), TRANSFER, rng)
    found = recommend(prediction, Constraints(max_latency_ms=1e6, min_top1=75.0))
    enough = prediction.sources.facts.top1 >= 75
    assert prediction.sources.facts.gmacs[found.flops_pick] == prediction.sources.facts.gmacs[enough].min()
    assert prediction.sources.facts.top1[found.picked] == prediction.sources.facts.top1.max()


def test_impossible_limits_list_the_closest(frame, rng) -> None:
    prediction = predict(frame, Target(device="edge-003"), TRANSFER, rng, anchors=ANCHORS)
    found = recommend(prediction, Constraints(max_latency_ms=1e-3))
    assert found.picked is None
    assert found.order[0] == np.argmin(prediction.latency.location)
    assert "The closest" in found.summary()[0]


def test_milliseconds_are_not_promised_without_a_measurement(frame, rng) -> None:
    prediction = predict(frame, Target(device="new"), TRANSFER, rng)
    with pytest.raises(DataError, match="cannot predict"):
        recommend(prediction, Constraints(max_latency_ms=10))
    assert recommend(prediction, Constraints(min_top1=75)).picked is not None


def test_memory_limits_count(frame, rng) -> None:
    prediction = predict(frame, Target(device="edge-003"), TRANSFER, rng)
    loose = recommend(prediction, Constraints(max_latency_ms=1e6))
    tight = recommend(prediction, Constraints(max_latency_ms=1e6, max_memory_mib=40))
    assert prediction.memory is not None
    assert np.exp(prediction.memory.location[tight.picked]) <= 40
    assert prediction.sources.facts.top1[tight.picked] <= prediction.sources.facts.top1[loose.picked]


def test_doubt_shrinks_as_a_plan_is_followed(frame, rng) -> None:
    first = plan(frame, Target(device="edge-003"), TRANSFER, PlanOptions(budget=4), rng, anchors=[])
    assert 0 < len(first.models) <= 4
    then = plan(frame, Target(device="edge-003"), TRANSFER, PlanOptions(budget=4), rng, anchors=list(first.models))
    assert not set(then.models) & set(first.models)
    assert then.doubt < first.doubt


def test_a_plan_stops_if_everything_is_measured(frame, rng) -> None:
    found = plan(frame, Target(device="edge-003"), TRANSFER, PlanOptions(), rng)
    assert found.stopped
    assert found.settled
    assert "Nothing more to measure" in found.summary()[0]


def test_a_plan_proposes_only_models_that_can_be_built(frame, rng) -> None:
    target = Target(device="edge-003")
    found = plan(frame, target, TRANSFER, PlanOptions(budget=4), rng, anchors=[], buildable=["levit_128s"])
    assert found.models == ("levit_128s",)
    nothing = plan(frame, target, TRANSFER, PlanOptions(budget=4), rng, anchors=[], buildable=[])
    assert nothing.stopped
    assert nothing.summary()[0].startswith("No other model can be measured")


def test_a_recommendation_names_its_milliseconds_and_the_limit(frame, rng) -> None:
    found = recommend(
        predict(frame, Target(device="edge-003"), TRANSFER, rng, anchors=ANCHORS), Constraints(max_latency_ms=1e4)
    )
    row = found.tables()["candidates"].iloc[0]
    if row["measured"]:
        words = f"{row['latency_ms']:.3g} ms measured"
    else:
        words = f"{row['latency_ms']:.3g} ms ({row['latency_low_ms']:.3g} to {row['latency_high_ms']:.3g}) predicted"
    assert found.summary()[0].startswith(f"Ship {row['model']} ({row['top1']:.1f} %): {words}; your limit is 10000 ms.")


def test_the_nearest_chip_is_the_one_with_the_same_latencies(frame, rng) -> None:
    twin = frame[frame["device"] == "edge-003"].assign(device="twin", chip="twin chip")
    prediction = predict(pd.concat([frame, twin]), Target(device="edge-003"), TRANSFER, rng)
    chip, apart = nearest_chips(prediction.sources, prediction.latency)[0]
    assert (chip, apart) == ("twin chip", pytest.approx(0, abs=1e-9))


def test_frontier_probability_is_missing_without_an_accuracy(frame, rng) -> None:
    unrated = frame.assign(top1=frame["top1"].mask(frame["model"] == "levit_128s"))
    models = predict(unrated, Target(device="edge-003"), TRANSFER, rng).tables()["models"].set_index("model")
    assert np.isnan(models.loc["levit_128s", "frontier_probability"])
    assert models["frontier_probability"].drop("levit_128s").notna().all()


@pytest.fixture(scope="module")
def evaluation():
    options = EvaluationOptions(
        anchors=[0, 3], random_seeds=2, predictors=["transfer", "flops", "algorithm1"], resamples=200
    )
    return evaluate(history_frame(devices=7), TRANSFER, options, np.random.default_rng(0))


def test_evaluation_lists_refused_protocols(evaluation) -> None:
    assert set(evaluation.refused) == {"tier"}
    assert "one tier only" in evaluation.refused["tier"]


def test_evaluation_scores_every_predictor_on_every_chip(evaluation) -> None:
    scores = evaluation.scores.query("plan == 'planned' and protocol == 'chip'")
    assert scores.groupby(["predictor", "anchors"])["chip"].nunique().tolist() == [7] * 6


def test_transfer_beats_flops_if_devices_share_a_profile(evaluation) -> None:
    table = evaluation.tables()["scores"].query("protocol == 'chip' and plan == 'planned' and anchors == 3")
    by_predictor = table.set_index("predictor")
    assert by_predictor.loc["transfer", "spearman"] > by_predictor.loc["flops", "spearman"]
    assert by_predictor.loc["transfer", "mape"] < 0.7 * by_predictor.loc["flops", "mape"]


def test_evaluation_tables_are_those_of_the_paper(evaluation) -> None:
    tables = evaluation.tables()
    assert list(tables["table_7"].columns) == ["protocol", "source", "target", "precision", "recall", "f1"]
    assert {"family", "failure_rate"} <= set(tables["table_8"].columns)
    assert tables["new_models"].set_index("measured").loc["elsewhere", "mape"] < 0.3


def test_progress_is_told_to_the_end() -> None:
    seen = []
    options = EvaluationOptions(protocols=["chip"], anchors=[0], random_seeds=0, predictors=["mean_of_sources"])
    evaluate(
        history_frame(devices=3), TRANSFER, options, np.random.default_rng(0), progress=lambda *at: seen.append(at)
    )
    assert seen == [(1, 3), (2, 3), (3, 3)]


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: Target(device=""),
        lambda: PredictionOptions(predictor="crystal_ball"),
        lambda: PredictionOptions(confidence=1.5),
        lambda: PredictionOptions(draws=1),
        lambda: Constraints(max_latency_ms=0),
        lambda: Constraints(min_top1=170),
        lambda: PlanOptions(budget=0),
        lambda: EvaluationOptions(protocols=["moon"]),
        lambda: EvaluationOptions(anchors=[-1]),
        lambda: EvaluationOptions(predictors=[]),
    ],
)
def test_wrong_options_are_refused(wrong) -> None:
    with pytest.raises(ConfigError):
        wrong()


@pytest.mark.parametrize(
    ("file", "section", "options"),
    [
        ("question", "options", PredictionOptions()),
        ("predict", "evaluation", EvaluationOptions()),
        ("recommend", "constraints", Constraints()),
        ("plan", "plan", PlanOptions()),
    ],
)
def test_the_defaults_in_conf_are_those_of_the_dataclasses(file, section, options) -> None:
    path = Path(__file__).parents[3] / "conf" / f"{file}.yaml"
    config = OmegaConf.to_container(OmegaConf.load(path)[section], resolve=True)
    expected = asdict(options)
    if section == "evaluation":
        assert set(config.pop("predictors")) == set(expected.pop("predictors"))
    assert config == expected
