from __future__ import annotations

from dataclasses import replace
from xml.etree import ElementTree as ET

from frm_mlflow.analysis.interval import Interval
from frm_mlflow.gate.checks import Check, Verdict
from frm_mlflow.gate.summaries import GateResult, junit, markdown

CHECKS = (
    Check(name="latency", limit=5.0, found=Interval(4.0, 3.9, 4.1), unit="ms"),
    Check(name="FRM", limit=0.4, found=Interval(0.4, 0.39, 0.41)),
    Check(name="latency over that of <champion>", limit=1.05, found=Interval(1.1, 1.08, 1.12)),
)


def result(checks: tuple[Check, ...] = CHECKS, reasons: tuple[str, ...] = ()) -> GateResult:
    return GateResult(
        model="models:/net/2",
        against="models:/net/1",
        device="cpu",
        numbers="measured",
        confidence=0.95,
        checks=checks,
        reasons=reasons,
    )


def test_junit_has_one_case_per_check() -> None:
    suite = ET.fromstring(junit(result()))  # noqa: S314
    assert {key: suite.get(key) for key in ("tests", "failures", "errors")} == {
        "tests": "3",
        "failures": "1",
        "errors": "1",
    }
    latency, frm, regression = suite.findall("testcase")
    assert list(latency) == []
    assert "could not decide" in frm.find("error").get("message")
    assert "1.1 [1.08, 1.12]" in regression.find("failure").get("message")


def test_a_gate_without_a_measurement_is_an_error() -> None:
    broken = result(checks=(), reasons=("the worker crashed",))
    assert broken.verdict is Verdict.UNDECIDED
    suite = ET.fromstring(junit(broken))  # noqa: S314
    assert suite.get("errors") == "1"
    assert suite.find("testcase/error").get("message") == "the worker crashed"


def test_markdown_shows_each_check_with_interval_and_limit() -> None:
    text = markdown(result(reasons=("unstable: drift +3 %",)))
    assert text.startswith("## ❌ models:/net/2: fail")
    assert "numbers: measured" in text
    assert "| latency | 4 ms | [3.9, 4.1] | ≤ 5 ms | ✅ pass |" in text
    assert "- unstable: drift +3 %" in text


HOSTILE = "net\x00\x1b[2J\ud800\ufffe]]><b>![p](http://host/x)|`[red]"


def test_hostile_names_give_valid_xml_and_plain_markdown() -> None:
    checks = (
        Check(name=HOSTILE, limit=1.0, found=Interval(2.0, 1.9, 2.1)),
        Check(name="FRM", limit=1.0, found=None, why_missing=HOSTILE),
    )
    given = GateResult(
        model=HOSTILE,
        against=HOSTILE,
        device=HOSTILE,
        numbers=HOSTILE,
        confidence=0.95,
        checks=checks,
        reasons=(HOSTILE,),
    )
    for each in (given, replace(given, checks=())):
        suite = ET.fromstring(junit(each).encode())  # noqa: S314
        assert "net\\x00\\x1b[2J\\ud800\\ufffe]]><b>" in suite.find("testcase").get("classname")
        text = markdown(each)
        assert not {"\x00", "\x1b", "\ud800", "\ufffe"} & set(text)
        assert "<b>" not in text
        assert "![" not in text.replace("\\[", "")
    assert len([line for line in markdown(given).splitlines() if line.startswith("|")]) == 4
