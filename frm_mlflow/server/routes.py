"""The routes of the page: its document, its own assets, and its data as JSON.

Everything is a Flask route, because MLflow's basic-auth protects those. The page sends requests only to
this server; the content security policy enforces that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import cache, partial, wraps
from importlib import resources
from pathlib import PurePath
from typing import TypeAlias

from flask import Blueprint, Flask, Response, current_app, jsonify, redirect, request
from werkzeug.wrappers import Response as AnyResponse

from frm_mlflow.errors import ConfigError, DataError, FrmError
from frm_mlflow.report.board import Json
from frm_mlflow.report.snapshot import Snapshot
from frm_mlflow.server import view
from frm_mlflow.server.advice import Adviser
from frm_mlflow.server.choice import Choice, choice_of
from frm_mlflow.server.permission import RefusedError, readable_experiments, require_readable
from frm_mlflow.server.source import read_benchmarks
from frm_mlflow.server.store import Reading, Store

Answer: TypeAlias = Response | AnyResponse
Route: TypeAlias = Callable[[], Answer]
Ask: TypeAlias = Callable[[Snapshot, Choice], Json | None]
"""Answers from a snapshot; None if the answer takes longer than a request may."""

CONTENT_SECURITY_POLICY = "; ".join(
    [
        "default-src 'none'",
        "script-src 'self'",
        # plotly.js positions its figures with style attributes.
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data: blob:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'self'",
        "frame-ancestors 'self'",
    ]
)
HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",
}
_TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
MAX_EXPERIMENTS = 50


def blueprint(store: Store | None = None) -> Blueprint:
    """Return the page's routes below `/frm`; `store` provides its benchmarks."""
    benchmarks = store or Store(read_benchmarks, calm_s=2.0)
    page = Blueprint("frm", __name__)
    page.add_url_rule("/frm", "index", _index)
    page.add_url_rule("/frm/", "index_slash", lambda: redirect("../frm", code=308))
    for name in _assets():
        page.add_url_rule(f"/frm/static/{name}", f"static_{name.replace('.', '_')}", partial(_asset, name))
    page.add_url_rule("/frm/static/plotly.js", "plotly", _plotly)
    page.add_url_rule("/frm/api/experiments", "experiments", _checked(_experiments))
    answers: dict[str, Ask] = {"view": _view, "compare": _compare, "recommend": partial(_recommend, Adviser())}
    for name, answer in answers.items():
        page.add_url_rule(f"/frm/api/{name}", name, _checked(partial(_with_snapshot, benchmarks, answer)))
    page.after_request(_with_headers)
    return page


def paths(app: Flask) -> Iterable[str]:
    """Return the paths of the page's routes; none has a variable part."""
    return [rule.rule for rule in app.url_map.iter_rules() if rule.endpoint.startswith("frm.")]


def _with_headers(response: Response) -> Response:
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)
    return response


@cache
def _assets() -> Mapping[str, bytes]:
    """Return the page's own files and those that it shares with the report, by name."""
    folders = [resources.files(package) / "static" for package in ("frm_mlflow.report", "frm_mlflow.server")]
    files = [item for folder in folders for item in folder.iterdir()]
    return {item.name: item.read_bytes() for item in files if item.name != "index.html"}


def _index() -> Answer:
    document = (resources.files("frm_mlflow.server") / "static" / "index.html").read_bytes()
    return Response(document, mimetype="text/html")


def _asset(name: str) -> Answer:
    return _cached(_assets()[name], _TYPES[PurePath(name).suffix])


def _plotly() -> Answer:
    return _cached((resources.files("plotly") / "package_data" / "plotly.min.js").read_bytes(), _TYPES[".js"])


def _cached(content: bytes, mimetype: str) -> Answer:
    """Return `content` with an ETag: a browser asks whether it changed, and downloads it once."""
    response = Response(content, mimetype=mimetype)
    response.add_etag()
    return response.make_conditional(request)


def _checked(answer: Route) -> Route:
    """Convert refusals and invalid parameters to a JSON message with their status."""

    @wraps(answer)
    def route() -> Answer:
        try:
            return answer()
        except RefusedError as error:
            return _problem(error.message, error.status)
        except (ConfigError, DataError) as error:
            return _problem(str(error), 400)
        except FrmError as error:
            return _problem(str(error), 500)

    return route


def _problem(message: str, status: int) -> Answer:
    response = jsonify({"error": message})
    response.status_code = status
    return response


def _experiments() -> Answer:
    experiments = readable_experiments(current_app, request.environ)
    return jsonify({"experiments": [{"id": each.id, "name": each.name} for each in experiments]})


def _with_snapshot(store: Store, answer: Ask) -> Answer:
    """Answer from the experiments named in the query, if this user may read each of them."""
    ids = sorted(set(request.args.getlist("experiment")))
    if not ids or len(ids) > MAX_EXPERIMENTS:
        raise ConfigError(f"experiment must be given between 1 and {MAX_EXPERIMENTS} times, got {len(ids)}")
    allowed = require_readable(current_app, request.environ, ids)
    choice = choice_of(request.args.to_dict())
    snapshot = store.get(tuple(each.id for each in allowed))
    if isinstance(snapshot, Reading):
        return _later({"reading": snapshot.runs})
    content = answer(snapshot, choice)
    return _later({"predicting": True}) if content is None else jsonify(content)


def _later(progress: Json) -> Answer:
    """Return a response that makes the page ask again after a moment."""
    response = jsonify(progress)
    response.status_code = 202
    return response


def _view(snapshot: Snapshot, choice: Choice) -> Json:
    shown = view.overview(snapshot, choice)
    configuration = shown["choice"]["configuration"]
    return {
        **shown,
        "shown": view.models(snapshot, choice, configuration) if configuration else None,
    }


def _compare(snapshot: Snapshot, choice: Choice) -> Json:
    for name, key in {"configuration": choice.configuration, "other": choice.other}.items():
        if key not in snapshot.positions:
            raise ConfigError(f"{name} '{key}' is not among the benchmarks of these experiments")
    return view.comparison(snapshot, choice, choice.configuration, choice.other)


def _recommend(adviser: Adviser, snapshot: Snapshot, choice: Choice) -> Json | None:
    return adviser.answer(snapshot, choice, request.args)
