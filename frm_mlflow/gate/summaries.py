"""A gate's verdict for readers (Markdown) and for CI (JUnit XML)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from xml.etree import ElementTree as ET

from frm_mlflow import escape
from frm_mlflow.gate.checks import Check, Verdict, overall

_MARKS = {Verdict.PASS: "✅", Verdict.FAIL: "❌", Verdict.UNDECIDED: "❔"}


@dataclass(frozen=True, kw_only=True)
class GateResult:
    """Outcome of a gate: the device, the source of the numbers, and each check.

    `reasons` explain why nothing could be measured, or why the numbers need caution.
    """

    model: str
    against: str
    device: str
    numbers: str
    confidence: float
    checks: tuple[Check, ...]
    reasons: tuple[str, ...] = ()

    @property
    def verdict(self) -> Verdict:
        """The verdict over all checks; undecided if there are none."""
        return overall(self.checks) if self.checks else Verdict.UNDECIDED


def markdown(result: GateResult) -> str:
    """Return the summary to show in a pull request."""
    against = f" against {escape.markdown(result.against)}" if result.against else ""
    device, numbers = escape.markdown(result.device), escape.markdown_sentence(result.numbers)
    lines = [
        f"## {_MARKS[result.verdict]} {escape.markdown(result.model)}: {result.verdict.value}",
        "",
        f"On {device}{against}; numbers: {numbers}; confidence {result.confidence:.0%}.",
        "",
        "| check | value | interval | limit | verdict |",
        "|---|---|---|---|---|",
        *[_row(check) for check in result.checks],
    ]
    if result.reasons:
        lines += ["", *[f"- {escape.markdown_sentence(reason)}" for reason in result.reasons]]
    return "\n".join(lines) + "\n"


def _row(check: Check) -> str:
    unit = f" {check.unit}" if check.unit else ""
    if check.found is None:
        value, interval = "unknown", escape.markdown_sentence(check.why_missing)
    else:
        value, interval = f"{check.found.value:.4g}{unit}", f"[{check.found.low:.4g}, {check.found.high:.4g}]"
    verdict = f"{_MARKS[check.verdict]} {check.verdict.value}"
    name = escape.markdown_sentence(check.name)
    return f"| {name} | {value} | {interval} | ≤ {check.limit:.4g}{unit} | {verdict} |"


def junit(result: GateResult) -> str:
    """Return JUnit XML with one test case per check; a failed check is a failure, an undecided one an error."""
    checks = result.checks
    counts = {verdict: _count(checks, verdict) for verdict in Verdict}
    suite = ET.Element(
        "testsuite",
        name="frm-mlflow gate",
        tests=str(max(len(checks), 1)),
        failures=str(counts[Verdict.FAIL]),
        errors=str(counts[Verdict.UNDECIDED] + (not checks)),
    )
    for check in checks:
        case = _case(suite, result, check.name)
        if check.verdict is Verdict.FAIL:
            ET.SubElement(case, "failure", message=_attribute(check.sentence))
        elif check.verdict is Verdict.UNDECIDED:
            ET.SubElement(case, "error", message=_attribute(f"could not decide: {check.sentence}"))
    if not checks:
        ET.SubElement(_case(suite, result, "measure"), "error", message=_attribute("; ".join(result.reasons)))
    ET.SubElement(suite, "system-out").text = markdown(result)
    ET.indent(suite)
    return ET.tostring(suite, encoding="unicode", xml_declaration=True) + "\n"


def _case(suite: ET.Element, result: GateResult, name: str) -> ET.Element:
    return ET.SubElement(suite, "testcase", classname=_attribute(f"frm.gate.{result.device}"), name=_attribute(name))


def _attribute(text: str) -> str:
    """Return text without the control characters that XML does not allow; ElementTree escapes the rest."""
    return escape.visible(text, longest=escape.LONGEST_SENTENCE)


def _count(checks: Sequence[Check], verdict: Verdict) -> int:
    return sum(check.verdict is verdict for check in checks)


def as_json(result: GateResult) -> str:
    """Return the result as JSON: the verdict, and each check with its figure, interval, limit and verdict."""
    checks = [
        {
            "name": check.name,
            "unit": check.unit,
            "limit": check.limit,
            "found": asdict(check.found) if check.found else None,
            "why_missing": check.why_missing,
            "verdict": check.verdict.value,
        }
        for check in result.checks
    ]
    facts = {name: getattr(result, name) for name in ("model", "against", "device", "numbers", "confidence", "reasons")}
    return json.dumps({"verdict": result.verdict.value, **facts, "checks": checks}, indent=2, ensure_ascii=False) + "\n"
