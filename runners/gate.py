"""`frm-mlflow gate`: decides by interval whether a model may be shipped to a device, with an exit code for CI."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from mlflow import MlflowClient
from omegaconf import DictConfig

from frm_mlflow.config import GateConfig, checked
from frm_mlflow.errors import FrmError, TrackingError
from frm_mlflow.gate.checks import Verdict
from frm_mlflow.gate.decision import decide
from frm_mlflow.gate.evidence import stored_model
from frm_mlflow.gate.summaries import GateResult, as_json, junit, markdown
from frm_mlflow.tracking import models, server
from frm_mlflow.tracking.models import StoredModel

GITHUB_SUMMARY = "GITHUB_STEP_SUMMARY"
"""Environment variable with the path of a file; GitHub Actions displays the text appended to it."""


class GateFailedError(FrmError):
    """Raised if the candidate exceeds a limit."""

    exit_code = 1


class GateUndecidedError(FrmError):
    """Raised if the evidence is not sufficient for a decision."""

    exit_code = 2


def gate(config: DictConfig) -> None:
    """Decide on `config.candidate`, write the summaries, mark the version, and raise unless it passes.

    Raises
    ------
    GateFailedError
        If a limit is exceeded (exit code 1).
    GateUndecidedError
        If an interval includes its limit, nothing could be measured, the server does not respond, or
        the account has no permission in the registry to read or mark the model (exit code 2).
    ConfigError
        If the settings cannot be used (exit code 2).
    """
    settings = checked(GateConfig, config, where="gate")
    try:
        client = server.connect(settings.tracking.uri)
        candidate = stored_model(client, settings.candidate)
        result = decide(settings, client)
    except TrackingError as error:
        raise GateUndecidedError(f"could not decide about {settings.candidate}: {error}") from error
    _write(settings, result)
    unmarked = _marked(client, settings, candidate, result)
    _raise_unless_passed(result, unmarked)


def _write(asked: GateConfig, result: GateResult) -> None:
    text = markdown(result)
    for path, content in ((asked.junit, junit(result)), (asked.markdown, text)):
        if path:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            Path(path).write_text(content, encoding="utf-8")
    if summary := os.environ.get(GITHUB_SUMMARY):
        with Path(summary).open("a", encoding="utf-8") as file:
            file.write(text)
    sys.stdout.write(as_json(result) if asked.json else text)


def _marked(client: MlflowClient, asked: GateConfig, candidate: StoredModel | None, result: GateResult) -> str:
    """Set tag and alias on a registered candidate; return why this failed, or "" on success."""
    if candidate is None or candidate.version is None:
        wants_alias = asked.alias and result.verdict is Verdict.PASS
        return (
            f"alias={asked.alias}: {asked.candidate} is not a registered version, so it cannot have an alias"
            if wants_alias
            else ""
        )
    reason = "; ".join(check.sentence for check in result.checks) or "; ".join(result.reasons)
    verdict = f"{result.verdict.value}: {reason}" if asked.tag else None
    alias = asked.alias if result.verdict is Verdict.PASS else None
    try:
        models.mark_version(client, candidate, verdict=verdict, alias=alias)
    except TrackingError as error:
        return str(error)
    return ""


def _raise_unless_passed(result: GateResult, unmarked: str) -> None:
    """Raise unless the verdict is a pass; a candidate that cannot be marked as requested does not pass either."""
    decisive = [check.sentence for check in result.checks if check.verdict is result.verdict]
    reason = "; ".join([*(decisive or result.reasons), *([unmarked] if unmarked else [])])
    if result.verdict is Verdict.FAIL:
        raise GateFailedError(f"{result.model} fails: {reason}")
    if result.verdict is Verdict.UNDECIDED:
        raise GateUndecidedError(f"could not decide about {result.model}: {reason}")
    if unmarked:
        raise GateUndecidedError(f"{result.model} passes, but {unmarked}")
