"""MLflow's `mlflow.app` hook: MLflow's own server with the /frm page next to its UI.

`mlflow server` loads a single app by name, so each way of running MLflow's server that the page
supports is a separate entry point: `frm` (the plain server) and `frm-basic-auth` (MLflow's
users and permissions). Under uvicorn a factory must return an ASGI app, under gunicorn and
waitress a WSGI app; an environment variable set by MLflow tells the worker which.
"""

from __future__ import annotations

import os
from typing import Any

from flask import Flask


def create_app() -> Any:
    """Return MLflow's server with the page: `mlflow server --app-name frm`."""
    flask_app = _with_page()
    if os.environ.get("_MLFLOW_SGI_NAME") != "uvicorn":
        return flask_app
    from mlflow.server.fastapi_app import create_fastapi_app

    return create_fastapi_app(flask_app)


def create_auth_app() -> Any:
    """Return MLflow's basic-auth server with the page: `mlflow server --app-name frm-basic-auth`.

    The page's routes are open to every logged-in user. MLflow's own permissions decide what they
    return for each experiment (`frm_mlflow.server.permission`).
    """
    flask_app = _with_page()
    from mlflow.server import auth

    from frm_mlflow.server.routes import paths

    # Since MLflow 3.17 a route without a validator is refused to everyone but administrators.
    auth.BEFORE_REQUEST_VALIDATORS.update({(path, "GET"): _any_user for path in paths(flask_app)})
    return auth.create_app(flask_app)


def _any_user() -> bool:
    return True


def _with_page() -> Flask:
    from mlflow.server import app as flask_app

    from frm_mlflow.server.prefix import static_prefix
    from frm_mlflow.server.routes import blueprint

    if "frm" not in flask_app.blueprints:
        flask_app.register_blueprint(blueprint(), url_prefix=static_prefix())
    return flask_app
