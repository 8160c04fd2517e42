"""MLflow's basic-auth server, on which users have only the permissions that were granted."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from benchmarks.mlflow_server import running_server

ADMIN, PASSWORD = "admin", "long enough 5678"


@dataclass(frozen=True)
class Accounts:
    """A server with its users; `database` stores its runs."""

    uri: str
    database: str

    def add(self, *names: str) -> None:
        """Create users without any permissions."""
        with acting_as(ADMIN):
            for name in names:
                self._service().create_user(name, PASSWORD)

    def grant(self, user: str, kind: str, name: str, permission: str = "READ") -> None:
        """Grant `user` a permission on an experiment or a registered model, with the API of new and of old servers."""
        with acting_as(ADMIN):
            service = self._service()
            if hasattr(service, "grant_user_permission"):
                service.grant_user_permission(user, kind, name, permission)
            else:
                getattr(service, f"create_{kind}_permission")(name, user, permission)

    def _service(self) -> Any:
        from mlflow.server.auth.client import AuthServiceClient

        return AuthServiceClient(self.uri)


@contextmanager
def guarded_server(folder: Path) -> Iterator[Accounts]:
    """Yield the accounts of a server with the /frm page, which runs until the block ends."""
    pytest.importorskip("flask_wtf", reason="MLflow's basic-auth server needs flask-wtf")
    settings = folder / "auth.ini"
    settings.write_text(
        "[mlflow]\ndefault_permission = NO_PERMISSIONS\n"
        f"database_uri = sqlite:///{folder}/auth.db\nadmin_username = {ADMIN}\nadmin_password = {PASSWORD}\n"
        "authorization_function = mlflow.server.auth:authenticate_request_basic_auth\n"
        "auth_cache_ttl_seconds = 60\n"
    )
    environ = {
        "MLFLOW_AUTH_CONFIG_PATH": str(settings),
        "MLFLOW_FLASK_SERVER_SECRET_KEY": "test",
        "XDG_CACHE_HOME": str(folder / "cache"),
    }
    with running_server(folder, options=("--app-name", "frm-basic-auth"), environ=environ) as uri:
        yield Accounts(uri, f"sqlite:///{folder}/mlflow.db")


@contextmanager
def acting_as(user: str) -> Iterator[None]:
    """Make MLflow's client act as `user` within the block."""
    with pytest.MonkeyPatch.context() as patch:
        log_in(patch, user)
        yield


def log_in(patch: pytest.MonkeyPatch, user: str, password: str = PASSWORD) -> None:
    """Make MLflow's client act as `user` until `patch` is undone."""
    patch.setenv("MLFLOW_TRACKING_USERNAME", user)
    patch.setenv("MLFLOW_TRACKING_PASSWORD", password)
