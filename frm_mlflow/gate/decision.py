"""The verdict of a gate on the evidence about its candidate."""

from __future__ import annotations

import traceback
from dataclasses import replace
from pathlib import Path

from frm_mlflow import redact
from frm_mlflow.config import GateConfig
from frm_mlflow.errors import ConfigError, FrmError
from frm_mlflow.gate.evidence import Evidence, gathered
from frm_mlflow.gate.summaries import GateResult
from frm_mlflow.tracking import server

logger = redact.logger(__name__)


def decide(asked: GateConfig, client: server.Client, *, scratch: Path | None = None) -> GateResult:
    """Return the verdict on the available evidence; an error along the way leaves it undecided.

    Parameters
    ----------
    scratch
        Folder for exports; by default a temporary one.

    Raises
    ------
    ConfigError
        If the settings cannot be used.
    """
    try:
        evidence = gathered(asked, client, scratch=scratch)
    except ConfigError:
        raise
    except FrmError as error:
        evidence = Evidence(source="none", device=asked.device.name, reasons=(str(error),))
    except Exception as error:  # otherwise the process would exit with 1, which means that the candidate fails
        logger.error("the gate met an error that it does not know\n%s", traceback.format_exc())  # noqa: TRY400
        message = redact.text(f"{type(error).__name__}: {error}")
        evidence = Evidence(source="none", device=asked.device.name, reasons=(message,))
    checks = evidence.checks(asked) if evidence.source != "none" else ()
    return GateResult(
        model=redact.text(asked.candidate),
        against=redact.text(asked.against or ""),
        device=redact.text(evidence.device),
        numbers=evidence.source,
        confidence=asked.confidence,
        checks=tuple(replace(check, why_missing=redact.text(check.why_missing)) for check in checks),
        reasons=tuple(redact.text(reason) for reason in evidence.reasons),
    )
