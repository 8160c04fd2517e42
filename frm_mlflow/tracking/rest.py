"""MLflow's REST API as raw JSON, with MLflow's own credentials.

The client library converts every response to protobuf messages and then to entities. For
tens of thousands of runs this costs more than the network. Here a response stays a dict.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import requests
from mlflow.exceptions import MlflowException
from mlflow.utils.credentials import get_default_host_creds
from mlflow.utils.rest_utils import http_request

from frm_mlflow.errors import TrackingError
from frm_mlflow.tracking import answers

API = "/api/2.0/mlflow"
HTTP_OK = 200
HTTP_UNAUTHORIZED = 401
HTTP_FORBIDDEN = 403
PERMISSION_DENIED = "PERMISSION_DENIED"
HTTP_SERVER_ERROR = 500
LOGIN_REMEDY = (
    "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN, "
    "to an account that has the permission"
)


class NoAnswerError(TrackingError):
    """The server did not respond, or failed with an internal error: it may or may not have executed the request."""


def is_http(uri: str) -> bool:
    """Whether `uri` names a tracking server (and not a database)."""
    return urlsplit(uri).scheme in ("http", "https")


def call(
    uri: str,
    method: str,
    endpoint: str,
    *,
    query: dict[str, Any] | None = None,
    body: dict[str, Any] | None = None,
    timeout_s: float | None = None,
    retries: int | None = None,
) -> dict[str, Any]:
    """Return the JSON answer of `endpoint` (below `/api/2.0/mlflow`) on the server at `uri`.

    `timeout_s` and `retries` default to MLflow's own settings. Credentials, TLS options and
    request-header plugins come from MLflow's own environment variables.

    Raises
    ------
    TrackingError
        If the server rejects the credentials or the request; `NoAnswerError` if it does not respond.
    """
    answers.guard()
    try:
        response = http_request(
            get_default_host_creds(uri),
            f"{API}/{endpoint}",
            method,
            timeout=timeout_s,
            max_retries=retries,
            raise_on_status=False,
            params=query,
            json=body,
        )
    except (MlflowException, requests.RequestException) as error:
        raise NoAnswerError(f"the tracking server at {uri} does not answer: {_cause(error)}") from error
    if response.status_code in (HTTP_UNAUTHORIZED, HTTP_FORBIDDEN):
        raise TrackingError(
            f"the tracking server at {uri} refused {endpoint} (HTTP {response.status_code}): {LOGIN_REMEDY}"
        )
    if response.status_code != HTTP_OK:
        kind = NoAnswerError if response.status_code >= HTTP_SERVER_ERROR else TrackingError
        raise kind(f"the tracking server at {uri} answered {endpoint} with {_refusal(response)}")
    try:
        answers.check(endpoint, response.content, response.headers.get("Content-Type", ""))
    except answers.WrongAnswerError as error:
        raise NoAnswerError(f"{uri} does not answer as an MLflow server: {error}") from error
    answer: dict[str, Any] = response.json()
    return answer


@contextmanager
def refusal_named(subject: str, *, permission: str = "", remedy: str = "") -> Iterator[None]:
    """Raise a refusal by the server as a `TrackingError` about `subject`.

    The message has the permission that the account lacks, if that is the reason, and the remedy.
    """
    try:
        yield
    except MlflowException as error:
        reason = error.message.strip()
        if permission and error.error_code == PERMISSION_DENIED:
            reason = f"{reason}; the account needs {permission}"
        raise TrackingError(f"{subject}: {reason}{remedy}") from error


def _refusal(response: requests.Response) -> str:
    try:
        message = response.json()["message"]
    except (requests.JSONDecodeError, KeyError, TypeError):
        message = response.text[:200]
    return f"HTTP {response.status_code}: {message}"


def _cause(error: Exception) -> str:
    """Return the response or the operating system's message, without the layers that repeat it."""
    wrong_response = re.search(r"(?:the answer|\S+ was redirected) .*", str(error))
    if wrong_response:
        return wrong_response.group()[:500]
    system_error = re.search(r"\[Errno -?\d+\] [^'\")]+", str(error))
    return system_error.group() if system_error else first_line(error)


def first_line(error: Exception) -> str:
    """Return the first line of an error's message, to which libraries append pages of details."""
    return (str(error).splitlines() or [type(error).__name__])[0][:300]
