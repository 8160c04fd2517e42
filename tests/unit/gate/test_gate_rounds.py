"""A gate measures until its verdict is clear: number of rounds, their combined result, and unknown errors."""

from __future__ import annotations

from functools import cache
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from frm_mlflow.config import GateConfig, checked
from frm_mlflow.gate import evidence as gate_evidence
from frm_mlflow.gate.checks import Verdict
from frm_mlflow.gate.decision import decide
from frm_mlflow.measure import Identity, Measurement
from frm_mlflow.sweep.compose import composed

WORDS = ["candidate=new.onnx", "against=old.onnx", "max_regression=5%", "device=cpu", "numbers=measured"]


def launches(ratio: float, *, spread: float, rng: np.random.Generator) -> Measurement:
    """Return five launches whose ratios scatter around `ratio`, on an undisturbed machine."""
    rows = []
    for launch, own in enumerate(ratio * np.exp(spread * rng.standard_normal(5))):
        for role, wall_ns, blocks in (("baseline", 1e6, 4), ("model", 1e6 * own, 3)):
            rows += [(role, launch, block, index, wall_ns, wall_ns) for block in range(blocks) for index in range(2)]
    samples = pd.DataFrame(rows, columns=["role", "launch", "block", "index", "wall_ns", "cpu_ns"])
    return Measurement(
        metrics={},
        baseline_metrics={},
        samples=samples,
        unstable=(),
        versions={},
        identity=Identity(1.0, 0.0, 0.0),
        facts={"threads": 1},
    )


@pytest.fixture
def measure(monkeypatch):
    """Make each round return launches with this true ratio and spread; returns the list of rounds."""

    def arrange(ratio: float, *, spread: float, seed: int = 0) -> list[Measurement]:
        rng, made = np.random.default_rng(seed), []

        def beside(*_, **__):
            made.append(launches(ratio, spread=spread, rng=rng))
            return SimpleNamespace(measurement=made[-1], record=SimpleNamespace(metrics={}))

        monkeypatch.setattr(gate_evidence, "benchmark_beside", beside)
        monkeypatch.setattr(gate_evidence, "check_device", lambda _: SimpleNamespace(name="cpu"))
        return made

    return arrange


@cache
def settings(*words: str) -> GateConfig:
    return checked(GateConfig, composed("gate", [*WORDS, *words]), where="gate")


def verdict(tmp_path, *words: str) -> Verdict:
    return decide(settings(*words), client=None, scratch=tmp_path).verdict


@pytest.mark.parametrize(("ratio", "expected"), [(1.0, Verdict.PASS), (1.1, Verdict.FAIL)])
def test_a_clear_verdict_takes_one_round(measure, tmp_path, ratio, expected):
    made = measure(ratio, spread=0.003)
    assert verdict(tmp_path) is expected
    assert len(made) == 1


def test_a_candidate_at_its_limit_is_measured_to_the_last_round_and_left_undecided(measure, tmp_path):
    made = measure(1.05, spread=0.01)
    assert verdict(tmp_path, "rounds=3") is Verdict.UNDECIDED
    assert len(made) == 3


@pytest.mark.parametrize(("ratio", "right"), [(1.0, Verdict.PASS), (1.1, Verdict.FAIL)])
def test_launches_that_differ_by_two_per_cent_are_told_apart_and_seldom_wrongly(measure, tmp_path, ratio, right):
    given = []
    for seed in range(20):
        measure(ratio, spread=0.02, seed=seed)
        given.append(verdict(tmp_path))
    assert given.count(right) >= 18
    assert given.count(right) + given.count(Verdict.UNDECIDED) == 20


def test_looking_again_errs_no_more_often_than_the_confidence_allows(measure, tmp_path):
    wrong = 0
    for seed in range(100):
        measure(1.0500001, spread=0.02, seed=seed)  # barely above its limit: a pass is an error
        wrong += verdict(tmp_path) is Verdict.PASS
    assert wrong <= 7  # 2.5 % are allowed on this side; 7 is the 99 % quantile in 100 trials


def test_an_error_that_nobody_foresaw_decides_nothing(measure, tmp_path, monkeypatch, caplog):
    def crash(*_, **__):
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(gate_evidence, "benchmark_beside", crash)
    monkeypatch.setattr(gate_evidence, "check_device", lambda _: SimpleNamespace(name="cpu"))
    assert verdict(tmp_path) is Verdict.UNDECIDED
    assert "a bug" in caplog.text
