from __future__ import annotations

from xml.etree import ElementTree as ET

from frm_mlflow.analysis.gate import Check, Range, Verdict
from frm_mlflow.report.gate import GateResult, junit, markdown

CHECKS = (
    Check(name="latency", limit=5.0, found=Range(4.0, 3.9, 4.1), unit="ms"),
    Check(name="FRM", limit=0.4, found=Range(0.4, 0.39, 0.41)),
    Check(name="latency over that of <champion>", limit=1.05, found=Range(1.1, 1.08, 1.12)),
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


def test_junit_has_a_case_a_check_and_tells_failures_from_what_is_open() -> None:
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


def test_a_gate_that_could_not_measure_is_an_error_with_its_reason_and_no_pass() -> None:
    broken = result(checks=(), reasons=("the worker crashed",))
    assert broken.verdict is Verdict.UNDECIDED
    suite = ET.fromstring(junit(broken))  # noqa: S314
    assert suite.get("errors") == "1"
    assert suite.find("testcase/error").get("message") == "the worker crashed"


def test_markdown_shows_every_check_with_its_interval_and_limit_and_says_where_the_numbers_are_from() -> None:
    text = markdown(result(reasons=("unstable: drift +3 %",)))
    assert text.startswith("## ❌ models:/net/2: fail")
    assert "numbers: measured" in text
    assert "| latency | 4 ms | [3.9, 4.1] | ≤ 5 ms | ✅ pass |" in text
    assert "- unstable: drift +3 %" in text
