from __future__ import annotations

from types import SimpleNamespace
from xml.etree import ElementTree as ET

import mlflow
import pandas as pd
import pytest

from frm_mlflow import schema
from frm_mlflow.errors import ConfigError, TrackingError, WorkerError
from frm_mlflow.runners.attach import attach
from frm_mlflow.runners.gate import GateFailedError, GateUndecidedError, gate
from frm_mlflow.sweep.compose import composed

REGRESSION = ("against=models:/NAME@champion", "max_regression=5%")


@pytest.fixture
def name(tracking, two_models, request) -> str:
    """A registered model with a champion (version 1) and a candidate (version 2)."""
    name = f"digits_{abs(hash(request.node.name))}"
    for uri in two_models:
        mlflow.register_model(uri, name)
    tracking.set_registered_model_alias(name, "champion", "1")
    tracking.set_registered_model_alias(name, "candidate", "2")
    return name


def run_gate(name: str, *overrides: str) -> None:
    words = [f"candidate=models:/{name}@candidate", "device=cpu", *(word.replace("NAME", name) for word in overrides)]
    gate(composed("gate", words))


@pytest.mark.oldest_mlflow
def test_a_passing_candidate_gets_its_tag_and_alias(tracking, name, measured_as, tmp_path):
    asked = measured_as((1.0, 0.99, 1.02))
    run_gate(name, *REGRESSION, "max_latency_ms=3", "alias=champion")
    assert asked == [name]
    version = tracking.get_model_version(name, "2")
    assert version.tags[schema.GATE.key].startswith("pass: latency is 2 [1.961, 2.04] ms; at most 3 ms is allowed")
    assert tracking.get_model_version_by_alias(name, "champion").version == "2"
    suite = ET.parse(tmp_path / "frm-gate.xml").getroot()  # noqa: S314
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("2", "0", "0")
    assert "pass" in (tmp_path / "frm-gate.md").read_text()


def test_a_slower_candidate_fails_and_the_alias_stays(tracking, name, measured_as):
    measured_as((1.1, 1.07, 1.13))
    with pytest.raises(GateFailedError, match=r"1\.1 \[1\.071, 1\.13\]; at most 1\.05") as raised:
        run_gate(name, *REGRESSION, "alias=champion")
    assert raised.value.exit_code == 1
    assert tracking.get_model_version(name, "2").tags[schema.GATE.key].startswith("fail")
    assert tracking.get_model_version_by_alias(name, "champion").version == "1"


def test_an_interval_across_the_limit_ends_undecided(name, measured_as):
    asked = measured_as((1.05, 1.01, 1.09))
    with pytest.raises(GateUndecidedError, match="could not decide") as raised:
        run_gate(name, *REGRESSION, "rounds=3")
    assert raised.value.exit_code == 2
    assert asked == [name] * 3


def test_a_clear_verdict_needs_no_further_round(name, measured_as):
    asked = measured_as((1.04, 1.02, 1.06))
    run_gate(name, *REGRESSION)
    assert asked == [name] * 2


def test_a_benchmark_that_crashes_is_undecided_and_said(name, measured_as, tmp_path):
    measured_as(error=WorkerError("the worker was killed"))
    with pytest.raises(GateUndecidedError, match="the worker was killed"):
        run_gate(name, "max_latency_ms=3")
    suite = ET.parse(tmp_path / "frm-gate.xml").getroot()  # noqa: S314
    assert suite.get("errors") == "1"


def test_an_unexpected_error_is_undecided_and_hides_secrets(tracking, name, measured_as, tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("HF_TOKEN", "s3cr3t-of-the-hub")
    measured_as(error=LookupError("https://me:hunter22@hub.example refuses s3cr3t-of-the-hub"))
    with pytest.raises(GateUndecidedError, match="LookupError"):
        run_gate(name, "max_latency_ms=3")
    tag = tracking.get_model_version(name, "2").tags[schema.GATE.key]
    assert tag == "undecided: LookupError: https://me:***@hub.example refuses ***"
    told = [(tmp_path / f"frm-gate.{kind}").read_text() for kind in ("xml", "md")]
    assert not [text for text in (*told, caplog.text) if "s3cr3t" in text or "hunter22" in text]
    assert "Traceback" in caplog.text


def test_frm_is_measured_beside_the_baseline(name, measured_as):
    asked = measured_as((1.0, 0.98, 1.02))
    run_gate(name, "max_frm=0.64", "baseline=squeezenet1_1")  # (0.5 x 1.02 x 0.5)^(1/3) = 0.634
    with pytest.raises(GateFailedError, match="FRM"):
        run_gate(name, "max_frm=0.6", "baseline=squeezenet1_1")
    assert len(asked) == 2


@pytest.mark.oldest_mlflow
def test_an_absent_device_is_judged_by_tracked_numbers(tracking, name, measured_as, capsys):
    for version, latency in (("1", 2.0), ("2", 2.3)):
        measured_as(latency_ms=latency)
        attach(composed("attach", [f"model_uri=models:/{name}/{version}", "device=cpu"]))
    asked = measured_as(error=AssertionError("nothing is to be measured"))
    with pytest.raises(GateFailedError, match=r"1\.15 \[1\.127"):
        run_gate(name, *REGRESSION, "numbers=tracked")
    assert "numbers: tracked" in capsys.readouterr().out
    source = tracking.get_run(tracking.get_model_version(name, "2").run_id)
    run_uri = f"candidate=runs:/{source.info.run_id}/second"
    with pytest.raises(GateFailedError, match=r"1\.15 \[1\.127"):
        run_gate(name, *REGRESSION, "numbers=tracked", run_uri)
    assert asked == []
    with pytest.raises(GateUndecidedError, match="latency is not known"):
        run_gate(name, "max_latency_ms=3", "device=a100")


def test_a_prediction_decides_where_it_is_asked_for(name, monkeypatch, capsys):
    table = pd.DataFrame({"model": [name, "other"], "latency_ms": [2.0, 1.0]})
    table = table.assign(latency_low_ms=table.latency_ms * 0.8, latency_high_ms=table.latency_ms * 1.2)
    table = table.assign(frm=0.5, frm_low=0.45, frm_high=0.55)
    prediction = SimpleNamespace(tables=lambda: {"models": table}, summary=lambda: ("learnt from 3 devices",))
    monkeypatch.setattr("frm_mlflow.gate.evidence.read_history", lambda *_, **__: SimpleNamespace(frame=None))
    monkeypatch.setattr("frm_mlflow.gate.evidence.predict", lambda *_: prediction)
    run_gate(name, "numbers=predicted", "max_latency_ms=2.5", "max_frm=0.6", "tag=false")
    said = capsys.readouterr().out
    assert "numbers: predicted" in said
    assert "learnt from 3 devices" in said
    with pytest.raises(GateUndecidedError, match="latency is 2"):
        run_gate(name, "numbers=predicted", "max_latency_ms=2.2")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ((), "needs a limit"),
        (("max_regression=5%",), "go together"),
        (("against=resnet18", "max_regression=much"), "percentage or a share"),
        (("max_latency_ms=1", "numbers=guessed"), "tracked or predicted"),
    ],
)
def test_settings_that_make_no_gate_are_refused(tracking, overrides, message):
    with pytest.raises(ConfigError, match=message):
        run_gate("digits", *overrides)


def test_a_model_that_is_not_registered_is_named(tracking):
    with pytest.raises((TrackingError, GateUndecidedError), match="nonesuch"):
        run_gate("nonesuch", "max_latency_ms=1")
