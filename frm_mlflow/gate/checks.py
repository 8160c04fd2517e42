"""Decides whether a model passes, by intervals and not by point estimates: uncertain results are left undecided."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from frm_mlflow.analysis.interval import Interval


class Verdict(str, Enum):
    """The decision of a gate."""

    PASS = "pass"  # noqa: S105 - no password
    FAIL = "fail"
    UNDECIDED = "undecided"


@dataclass(frozen=True, kw_only=True)
class Check:
    """One limit and the measured interval of the figure it bounds (None if it was not measured)."""

    name: str
    limit: float
    found: Interval | None
    unit: str = ""
    why_missing: str = ""

    @property
    def verdict(self) -> Verdict:
        """Pass if the whole interval is within the limit, fail if all of it is above, else undecided."""
        if self.found is None:
            return Verdict.UNDECIDED
        if self.found.high <= self.limit:
            return Verdict.PASS
        return Verdict.FAIL if self.found.low > self.limit else Verdict.UNDECIDED

    @property
    def sentence(self) -> str:
        """Return the measured interval and the limit as a sentence."""
        unit = f" {self.unit}" if self.unit else ""
        if self.found is None:
            return f"{self.name} is not known ({self.why_missing}); at most {self.limit:.4g}{unit} is allowed"
        ends = f"[{self.found.low:.4g}, {self.found.high:.4g}]" if math.isfinite(self.found.high) else "(no interval)"
        found = f"{self.found.value:.4g} {ends}{unit}"
        return f"{self.name} is {found}; at most {self.limit:.4g}{unit} is allowed"


def overall(checks: Sequence[Check]) -> Verdict:
    """Return fail if any check fails, else undecided if any is undecided, else pass.

    Examples
    --------
    >>> slow = Check(name="latency", limit=10.0, found=Interval(11.0, 10.5, 11.5), unit="ms")
    >>> open_ = Check(name="FRM", limit=0.5, found=Interval(0.5, 0.49, 0.51))
    >>> overall([slow, open_]).value, overall([open_]).value
    ('fail', 'undecided')
    """
    verdicts = {check.verdict for check in checks}
    return next((v for v in (Verdict.FAIL, Verdict.UNDECIDED) if v in verdicts), Verdict.PASS)
