"""Allowed replies of a worker, and of the program that copies it to a host; any other reply ends that benchmark."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

LONGEST_REPLY = 16 * 2**20
"""Bytes; a block of 100,000 timed runs takes a third of that."""
DAY_S = 86_400
DAY_NS = DAY_S * 10**9
LARGEST_MIB = 100 * 2**20
"""100 TiB: more memory than any device has."""

Nanoseconds = Annotated[int, Field(ge=0, le=DAY_NS)]
CallNanoseconds = Annotated[int, Field(ge=1, le=DAY_NS)]
Seconds = Annotated[float, Field(ge=0, le=DAY_S)]
Mebibytes = Annotated[float, Field(ge=-LARGEST_MIB, le=LARGEST_MIB)]
"""Memory relative to a base may be slightly below zero."""
Count = Annotated[int, Field(ge=1, le=10**9)]
Reading = Annotated[float, Field(ge=-DAY_NS, le=DAY_NS)]
"""A clock in MHz, a temperature, watts, a mask of throttle reasons."""
Text = Annotated[str, Field(max_length=20_000)]


class _Reply(BaseModel):
    model_config = ConfigDict(strict=True, allow_inf_nan=False, extra="ignore")


class _Hello(_Reply):
    protocol: Annotated[int, Field(ge=0, lt=10**6)]
    python: Text
    pid: Annotated[int, Field(ge=1, lt=2**31)]
    host: Text
    cwd: Text
    affinity: list[Annotated[int, Field(ge=0, lt=2**20)]] | None


class _Placement(_Reply):
    model_config = ConfigDict(extra="forbid")
    kind: Literal["cpu", "cuda", "other"]
    unit: Literal["cpu", "gpu", "npu", "mixed"]
    provider: Text
    nodes: dict[Text, Annotated[int, Field(ge=0, le=10**9)]] | None


class _Preflight(_Reply):
    versions: dict[Text, Text]
    placement: _Placement
    precision: Text
    card: dict[Text, Text] | None


class _Loaded(_Preflight):
    seconds: Seconds
    once_seconds: Seconds
    facts: dict[Text, Any]
    base_mib: Mebibytes
    loaded_mib: Mebibytes


class _Verified(_Reply):
    model_config = ConfigDict(allow_inf_nan=True)
    cosine: float
    max_abs_error: float
    max_rel_error: float
    finite: bool


class _Predicted(_Reply):
    calls: Annotated[int, Field(ge=0, le=10**9)]


class _WarmedUp(_Reply):
    runs: Count
    seconds: Seconds
    settled: bool
    first_ns: CallNanoseconds
    median_ns: CallNanoseconds


class _Block(_Reply):
    wall_ns: list[CallNanoseconds]
    cpu_ns: list[Nanoseconds]
    device_ns: list[Nanoseconds] | None
    readings: list[dict[Text, Reading]] | None


class _Memory(_Reply):
    peak_mib: Mebibytes
    base_mib: Mebibytes
    loaded_mib: Mebibytes
    definition: Text
    device_mib: Mebibytes | None
    device_peak_mib: Mebibytes | None
    device_definition: Text


class _Energy(_Reply):
    meter: Text | None
    millijoules: Annotated[float, Field(ge=0, le=1e12)] | None = None
    runs: Count | None = None
    seconds: Seconds | None = None
    period_ms: Annotated[float, Field(gt=0, le=DAY_S * 1000)] | None = None


class _Installed(_Reply):
    place: Text
    python: Annotated[list[Annotated[int, Field(ge=0, lt=1000)]], Field(min_length=2)]


class _Probed(_Reply):
    hardware: dict[str, Any]
    software: dict[str, Any]
    host: Text
    has_numpy: bool


class _Conditions(_Reply):
    conditions: dict[Text, float]


class _Received(_Reply):
    place: Text


class _Given(_Reply):
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    bytes: Annotated[int, Field(ge=0, lt=2**50)]


class _Held(_Reply):
    held: bool
    holder: Text


class _Pruned(_Reply):
    removed: list[Text]
    bytes: Annotated[int, Field(ge=0, lt=2**60)]


_REPLIES: Mapping[str, type[_Reply]] = {
    "hello": _Hello,
    "preflight": _Preflight,
    "load": _Loaded,
    "verify": _Verified,
    "predict": _Predicted,
    "warm_up": _WarmedUp,
    "run_block": _Block,
    "memory": _Memory,
    "energy": _Energy,
    "close": _Reply,
    "install": _Installed,
    "probe": _Probed,
    "conditions": _Conditions,
    "receive": _Received,
    "take": _Reply,
    "give": _Given,
    "hold": _Held,
    "prune": _Pruned,
}


class ReplyError(ValueError):
    """A reply violates the protocol; the message holds only the reason."""


def parsed(line: bytes) -> dict[str, Any]:
    """Return one reply line as an object with a Boolean `ok`.

    Raises
    ------
    ReplyError
        If it is too long, not JSON, or not an object with `ok`.
    """
    if len(line) > LONGEST_REPLY:
        raise ReplyError(f"replied with more than {LONGEST_REPLY // 2**20} MiB in one line")
    try:
        reply = json.loads(line)
    except (ValueError, RecursionError) as error:
        shown = line[:200].decode(errors="replace").rstrip()
        raise ReplyError(f"replied with garbage instead of JSON: {shown!r}") from error
    if not isinstance(reply, dict) or not isinstance(reply.get("ok"), bool):
        shown = line[:200].decode(errors="replace").rstrip()
        raise ReplyError(f"replied with garbage: an object with 'ok' was expected, got {shown!r}")
    return reply


def checked(command: str, reply: dict[str, Any], request: Mapping[str, Any]) -> dict[str, Any]:
    """Return a successful reply to `command` after checking every value in it.

    Raises
    ------
    ReplyError
        If a value is missing, has the wrong type, is not finite or not plausible, or if a list does not have the length
    that was requested.
    """
    schema = _REPLIES.get(command)
    if schema is None:
        return reply
    try:
        schema.model_validate(reply)
    except ValidationError as error:
        raise ReplyError(f"sent a wrong reply: {_fault(error)}") from error
    _check_together(command, reply, request)
    return reply


def _check_together(command: str, reply: Mapping[str, Any], request: Mapping[str, Any]) -> None:
    """Check values that depend on each other or on the request."""
    if command == "run_block":
        for clock in ("wall_ns", "cpu_ns", "device_ns"):
            times = reply[clock]
            if times is not None and len(times) != request["runs"]:
                raise ReplyError(f"sent a wrong reply: {clock} has {len(times)} values for {request['runs']} runs")
    if command == "verify":
        for name, lowest, highest in (
            ("cosine", -1, 1),
            ("max_abs_error", 0, math.inf),
            ("max_rel_error", 0, math.inf),
        ):
            value = reply[name]
            if reply["finite"] and not (math.isfinite(value) and lowest <= value <= highest):
                raise ReplyError(f"sent a wrong reply: {name} of finite outputs cannot be {value}")
    if command == "energy" and reply["meter"] is not None:
        missing = [name for name in ("millijoules", "runs", "seconds", "period_ms") if reply.get(name) is None]
        if missing:
            raise ReplyError(f"sent a wrong reply: {', '.join(missing)} missing with the meter {reply['meter']!r}")


def _fault(error: ValidationError) -> str:
    """Return the location, the reason and the value of the first validation error."""
    fault = error.errors(include_url=False, include_context=False)[0]
    place = ".".join(str(part)[:60] for part in fault["loc"])
    value = "" if fault["type"] == "missing" else f", got {repr(fault['input'])[:80]}"
    return f"{place}: {fault['msg']}{value}"
