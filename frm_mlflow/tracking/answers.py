"""Limits on what a tracking server may return: bounded in time and memory, and JSON of the right shape.

MLflow's client reads any response: one that trickles in or never ends blocks it forever, and the page of a login
portal counts as success if no content is expected. `guard` checks every response on its way from the network to
MLflow's client. Transfers of artifacts (streams) and traces pass through unchanged.
"""

from __future__ import annotations

import io
import json
import re
import socket
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from http.client import HTTPResponse
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import requests
from mlflow.utils import request_utils
from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model
from requests.adapters import BaseAdapter, HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection
from urllib3.exceptions import HTTPError

from frm_mlflow import redact

LARGEST_ANSWER_BYTES = 64 * 2**20
"""A page of 1,000 runs with many tags takes a third of that."""
MOST_CONTAINERS = 2_000_000
"""Objects and lists in one response: each costs Python a hundred times what it costs the sender."""
MOST_STRINGS = 4_000_000
SHOWN_CHARACTERS = 120
_API = re.compile(r".*/api/2\.0/mlflow/(?P<endpoint>[\w/-]+)$")
_CHUNK = 64 * 2**10
_REDIRECTS = (301, 302, 303, 307, 308)

Identifier = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,128}$")]
Milliseconds = Annotated[int, Field(strict=True, ge=0, lt=253_402_300_800_000)]
"""Since the epoch, before the year 10,000."""


class WrongAnswerError(requests.exceptions.InvalidJSONError):
    """The response is not one of MLflow's server; the message shows it."""


class _Answer(BaseModel):
    model_config = ConfigDict(extra="ignore")


class _Named(_Answer):
    key: str
    value: str = ""


class _Metric(_Answer):
    key: str
    value: Annotated[float, Field(strict=True)] | Literal["NaN", "Infinity", "-Infinity"]
    timestamp: Milliseconds = 0
    step: int = 0


class _RunInfo(_Answer):
    run_id: Identifier
    experiment_id: Identifier
    run_name: str = ""
    status: Literal["RUNNING", "SCHEDULED", "FINISHED", "FAILED", "KILLED"]
    start_time: Milliseconds
    end_time: Milliseconds = 0
    lifecycle_stage: str = ""
    artifact_uri: str = ""


class _RunData(_Answer):
    metrics: list[_Metric] = []
    params: list[_Named] = []
    tags: list[_Named] = []


class _Run(_Answer):
    info: _RunInfo
    data: _RunData = _RunData()


class _Experiment(_Answer):
    experiment_id: Identifier
    name: str
    lifecycle_stage: str
    tags: list[_Named] = []


def _shape(**fields: Any) -> type[_Answer]:
    """Return the schema of a response from its fields, each with its type and default."""
    return create_model("_Shape", __base__=_Answer, **fields)


_ONE_RUN = _shape(run=(_Run, ...))
_ONE_EXPERIMENT = _shape(experiment=(_Experiment, ...))
_PAGE = (str, "")
_CHANGES = (
    *("runs/log-batch", "runs/log-metric", "runs/log-parameter", "runs/set-tag", "runs/delete-tag"),
    *("runs/log-inputs", "runs/outputs", "runs/log-model", "experiments/set-experiment-tag"),
)
"""Requests that only change something; the response is an empty object."""
_SHAPES: Mapping[str, type[_Answer]] = {
    "runs/create": _ONE_RUN,
    "runs/get": _ONE_RUN,
    "runs/update": _shape(run_info=(_RunInfo, ...)),
    "runs/search": _shape(runs=(list[_Run], []), next_page_token=_PAGE),
    "experiments/get": _ONE_EXPERIMENT,
    "experiments/get-by-name": _ONE_EXPERIMENT,
    "experiments/create": _shape(experiment_id=(Identifier, ...)),
    "experiments/search": _shape(experiments=(list[_Experiment], []), next_page_token=_PAGE),
    **dict.fromkeys(_CHANGES, _shape()),
}


def check(endpoint: str, content: bytes, content_type: str = "") -> None:
    """Raise `WrongAnswerError` unless `content` is what MLflow's server returns for a request to `endpoint`.

    An endpoint that is not listed here must return a JSON object.
    """
    received = _described(content, content_type)
    if content.count(b"{") + content.count(b"[") > MOST_CONTAINERS or content.count(b'"') > 2 * MOST_STRINGS:
        raise WrongAnswerError(f"the answer to {endpoint} has too many parts: {received}")
    try:
        answer = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise WrongAnswerError(f"the answer to {endpoint} is not JSON but {received}") from error
    if not isinstance(answer, dict):
        raise WrongAnswerError(f"the answer to {endpoint} is not a JSON object but {received}")
    shape = _SHAPES.get(endpoint)
    if shape is None:
        return
    if answer and not set(answer) & set(shape.model_fields):
        raise WrongAnswerError(f"the answer to {endpoint} is not MLflow's but {received}")
    try:
        shape.model_validate(answer)
    except ValidationError as error:
        fault = error.errors(include_url=False, include_context=False)[0]
        place = ".".join(str(part)[:60] for part in fault["loc"])
        reason = f"{place}: {fault['msg']}, got {repr(fault['input'])[:SHOWN_CHARACTERS]}"
        raise WrongAnswerError(f"the answer to {endpoint} is not MLflow's: {redact.text(reason)}") from error


def guard() -> None:
    """Make MLflow's client in this process read every response through these checks."""
    if getattr(request_utils._get_request_session, "guarded", False):
        return
    inner = request_utils._get_request_session

    def session(*arguments: Any, **settings: Any) -> requests.Session:
        made: requests.Session = inner(*arguments, **settings)  # type: ignore[no-untyped-call]
        for prefix, adapter in list(made.adapters.items()):
            if isinstance(adapter, HTTPAdapter):
                made.mount(prefix, _Door(adapter))
        return made

    session.guarded = True  # type: ignore[attr-defined]
    request_utils._get_request_session = session


class _Door(BaseAdapter):
    """Sends with MLflow's own adapter and reads the response within limits."""

    def __init__(self, inner: HTTPAdapter) -> None:
        super().__init__()
        self._inner = inner
        inner.poolmanager.pool_classes_by_scheme = _POOLS
        through_proxy = inner.proxy_manager_for

        def proxy_manager_for(proxy: str, **settings: Any) -> Any:
            manager = through_proxy(proxy, **settings)
            manager.pool_classes_by_scheme = _POOLS
            return manager

        inner.proxy_manager_for = proxy_manager_for  # type: ignore[method-assign]

    def send(
        self,
        request: requests.PreparedRequest,
        stream: bool = False,
        timeout: Any = None,
        verify: Any = True,
        cert: Any = None,
        proxies: Any = None,
    ) -> requests.Response:
        """Return the response, read and checked unless it is a stream."""
        if stream or "/traces" in (request.url or ""):
            return self._inner.send(request, stream, timeout, verify, cert, proxies)
        _LIMITS.bounded = True
        try:
            response = self._inner.send(request, True, timeout, verify, cert, proxies)
        finally:
            _LIMITS.bounded = False
        _read(response)
        _check_answer(request, response)
        return response

    def close(self) -> None:
        """Close the connections."""
        self._inner.close()


def _read(response: requests.Response) -> None:
    """Read a response's body, decompressed, up to the maximum size."""
    parts: list[bytes] = []
    size = 0
    try:
        for chunk in response.iter_content(_CHUNK):
            parts.append(chunk)
            size += len(chunk)
            if size > LARGEST_ANSWER_BYTES:
                raise WrongAnswerError(f"the answer has more than {LARGEST_ANSWER_BYTES // 2**20} MiB")
    except HTTPError as error:  # not handled by `requests`, such as a wrong length
        raise requests.exceptions.ChunkedEncodingError(error) from error
    finally:
        response.close()
    response._content = b"".join(parts)
    response._content_consumed = True


def _check_answer(request: requests.PreparedRequest, response: requests.Response) -> None:
    asked = urlsplit(request.url or "")
    place = _API.match(str(asked.path))
    if place is None:
        return
    endpoint, content = place["endpoint"], response.content
    if response.status_code in _REDIRECTS:
        target = urlsplit(response.headers.get("Location", "")).path
        if target != asked.path:
            raise WrongAnswerError(f"{endpoint} was redirected to {response.headers.get('Location', '')[:200]!r}")
    elif 200 <= response.status_code < 300:
        check(endpoint, content, response.headers.get("Content-Type", ""))
    elif len(content) > 10_000:
        response._content = content[:1000]


def _described(content: bytes, content_type: str) -> str:
    if not content.strip():
        return "empty"
    text = content[:SHOWN_CHARACTERS].decode(errors="replace")
    kind = content_type.split(";")[0].strip()[:60] or "text"
    return f"{kind} of {len(content):,} bytes that begins {redact.text(text)!r}"


class _Limits(threading.local):
    bounded = False


_LIMITS = _Limits()


class _Timed(io.RawIOBase):
    """A socket's file that raises a time-out if the whole response takes longer than allowed."""

    def __init__(self, raw: Any, sock: socket.socket, clock: Callable[[], float] = time.monotonic) -> None:
        self._raw, self._sock, self._clock = raw, sock, clock
        self._timeout_s = sock.gettimeout()
        self._deadline = None if self._timeout_s is None else clock() + self._timeout_s
        self._left = LARGEST_ANSWER_BYTES + 2**20

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        if self._deadline is not None:
            left_s = self._deadline - self._clock()
            if left_s <= 0:
                raise TimeoutError(f"the answer took longer than {self._timeout_s:g} s")
            self._sock.settimeout(left_s)
        count: int | None = self._raw.readinto(buffer)
        self._left -= count or 0
        if self._left < 0:
            raise TimeoutError(f"the answer has more than {LARGEST_ANSWER_BYTES // 2**20} MiB")
        return count

    def close(self) -> None:
        if not self.closed:
            with suppress(OSError):
                self._sock.settimeout(self._timeout_s)
            self._raw.close()
        super().close()


class _BoundedResponse(HTTPResponse):
    """A response whose header and body must arrive within the request's time limit."""

    def __init__(self, sock: socket.socket, *arguments: Any, **settings: Any) -> None:
        super().__init__(sock, *arguments, **settings)
        if _LIMITS.bounded:
            self.fp = io.BufferedReader(_Timed(self.fp.detach(), sock))


class _BoundedPool(HTTPConnectionPool):
    class ConnectionCls(HTTPConnection):
        response_class = _BoundedResponse


class _BoundedTlsPool(HTTPSConnectionPool):
    class ConnectionCls(HTTPSConnectionPool.ConnectionCls):  # type: ignore[misc,valid-type]
        response_class = _BoundedResponse


_POOLS = {"http": _BoundedPool, "https": _BoundedTlsPool}
