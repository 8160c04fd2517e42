"""What the user of a request may read, as decided by MLflow itself.

The page calls MLflow's own REST API inside the same process and with the request's own
credentials. Whatever protects MLflow (basic-auth or another plugin) therefore protects the page, and a
revoked permission takes effect at the next request.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextvars import Context
from dataclasses import dataclass
from urllib.parse import urlencode

from flask import Flask
from werkzeug.test import run_wsgi_app

from frm_mlflow.server.prefix import static_prefix

PAGE_SIZE = 1000
"""Experiments per call; MLflow's own UI requests at most this many."""


@dataclass(frozen=True, slots=True)
class Experiment:
    """An experiment that the user may read."""

    id: str
    name: str


class RefusedError(Exception):
    """MLflow refused a request of this user; contains MLflow's own status and message."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


def readable_experiments(app: Flask, environ: dict[str, object]) -> list[Experiment]:
    """Return all experiments that the user of the request `environ` may read, in MLflow's order."""
    experiments: list[Experiment] = []
    query: dict[str, str | int] = {"max_results": PAGE_SIZE}
    while True:
        answer = _get(app, environ, "experiments/search", query)
        experiments += [_experiment(item) for item in answer.get("experiments", [])]
        token = answer.get("next_page_token")
        if not token:
            return experiments
        query["page_token"] = token


def require_readable(app: Flask, environ: dict[str, object], experiment_ids: Sequence[str]) -> list[Experiment]:
    """Return the experiments of these ids.

    Raises
    ------
    RefusedError
        With MLflow's own response, if one does not exist or may not be read.
    """
    answers = [_get(app, environ, "experiments/get", {"experiment_id": each}) for each in experiment_ids]
    return [_experiment(answer["experiment"]) for answer in answers]


def _experiment(item: dict[str, str]) -> Experiment:
    return Experiment(id=item["experiment_id"], name=item["name"])


def _get(app: Flask, environ: dict[str, object], call: str, query: dict[str, str | int]) -> dict:  # type: ignore[type-arg]
    """Return MLflow's response to a GET of its REST API, sent as the user of the request `environ`."""
    as_user = {key: value for key, value in environ.items() if not key.startswith("werkzeug.")}
    as_user |= {
        "REQUEST_METHOD": "GET",
        "PATH_INFO": f"{static_prefix()}/ajax-api/2.0/mlflow/{call}",
        "QUERY_STRING": urlencode(query),
    }
    # A separate context: MLflow keeps the request's user and workspace in context variables.
    body, status, _ = Context().run(run_wsgi_app, app.wsgi_app, as_user, buffered=True)
    text = b"".join(body).decode()
    if not status.startswith("200"):
        raise RefusedError(int(status[:3]), _message(text))
    return json.loads(text)  # type: ignore[no-any-return]


def _message(text: str) -> str:
    try:
        return str(json.loads(text)["message"])
    except (ValueError, KeyError, TypeError):
        return text
