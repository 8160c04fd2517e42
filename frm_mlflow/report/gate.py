"""A gate's verdict for readers (Markdown) and for CI (JUnit XML)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from xml.etree import ElementTree as ET

from frm_mlflow.analysis.gate import Check, Verdict, overall

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
    against = f" against {result.against}" if result.against else ""
    lines = [
        f"## {_MARKS[result.verdict]} {result.model}: {result.verdict.value}",
        "",
        f"On {result.device}{against}; numbers: {result.numbers}; confidence {result.confidence:.0%}.",
        "",
        "| check | found | interval | limit | verdict |",
        "|---|---|---|---|---|",
        *[_row(check) for check in result.checks],
    ]
    if result.reasons:
        lines += ["", *[f"- {reason}" for reason in result.reasons]]
    return "\n".join(lines) + "\n"


def _row(check: Check) -> str:
    unit = f" {check.unit}" if check.unit else ""
    found = ("not known", check.why_missing)
    if check.found is not None:
        found = (f"{check.found.value:.4g}{unit}", f"[{check.found.low:.4g}, {check.found.high:.4g}]")
    verdict = f"{_MARKS[check.verdict]} {check.verdict.value}"
    return f"| {check.name} | {found[0]} | {found[1]} | ≤ {check.limit:.4g}{unit} | {verdict} |"


def junit(result: GateResult) -> str:
    """Return JUnit XML with one test case per check; a failed check is a failure, an undecided one an error."""
    checks = result.checks
    counts = {verdict: _count(checks, verdict) for verdict in Verdict}
    blank = not checks
    suite = ET.Element(
        "testsuite",
        name="frm-mlflow gate",
        tests=str(max(len(checks), 1)),
        failures=str(counts[Verdict.FAIL]),
        errors=str(counts[Verdict.UNDECIDED] + blank),
    )
    for check in checks:
        case = ET.SubElement(suite, "testcase", classname=f"frm.gate.{result.device}", name=check.name)
        if check.verdict is Verdict.FAIL:
            ET.SubElement(case, "failure", message=check.sentence)
        elif check.verdict is Verdict.UNDECIDED:
            ET.SubElement(case, "error", message=f"could not decide: {check.sentence}")
    if blank:
        case = ET.SubElement(suite, "testcase", classname=f"frm.gate.{result.device}", name="measure")
        ET.SubElement(case, "error", message="; ".join(result.reasons))
    ET.SubElement(suite, "system-out").text = markdown(result)
    ET.indent(suite)
    return ET.tostring(suite, encoding="unicode", xml_declaration=True) + "\n"


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
