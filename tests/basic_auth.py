"""MLflow's own basic-auth server, on which nobody may do what was not granted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from benchmarks.mlflow_server import running_server

pytest.importorskip("flask_wtf", reason="MLflow's basic-auth server needs flask-wtf")

ADMIN, PASSWORD = "admin", "long enough 5678"


@dataclass(frozen=True)
class Accounts:
    """The server's accounts, for its administrator."""

    uri: str
    patch: pytest.MonkeyPatch

    def add(self, *names: str) -> None:
        """Make accounts that may do nothing."""
        for name in names:
            self._service().create_user(name, PASSWORD)

    def grant(self, user: str, kind: str, name: str, permission: str = "READ") -> None:
        """Let `user` do something with an experiment or a registered model, under the API of new and of old servers."""
        service = self._service()
        if hasattr(service, "grant_user_permission"):
            service.grant_user_permission(user, kind, name, permission)
        else:
            getattr(service, f"create_{kind}_permission")(name, user, permission)

    def _service(self):
        from mlflow.server.auth.client import AuthServiceClient

        log_in(self.patch, ADMIN)
        return AuthServiceClient(self.uri)


@contextmanager
def guarded_server(
    folder: Path, *, app: str, backend: str | None = None, environ: Mapping[str, str] | None = None
) -> Iterator[Accounts]:
    """Yield the accounts of a server that lives, with its administrator logged in, as long as the block."""
    folder.mkdir(parents=True, exist_ok=True)
    settings = folder / "auth.ini"
    settings.write_text(
        "[mlflow]\ndefault_permission = NO_PERMISSIONS\n"
        f"database_uri = sqlite:///{folder}/auth.db\nadmin_username = {ADMIN}\nadmin_password = {PASSWORD}\n"
        "authorization_function = mlflow.server.auth:authenticate_request_basic_auth\n"
        "auth_cache_ttl_seconds = 60\n"
    )
    own = {"MLFLOW_AUTH_CONFIG_PATH": str(settings), "MLFLOW_FLASK_SERVER_SECRET_KEY": "test"}
    with pytest.MonkeyPatch.context() as patch:
        log_in(patch, ADMIN)
        options = ("--app-name", app)
        with running_server(
            folder / "server", backend=backend, options=options, environ={**own, **(environ or {})}
        ) as uri:
            yield Accounts(uri, patch)


def log_in(patch: pytest.MonkeyPatch, user: str, password: str = PASSWORD) -> None:
    """Let MLflow's client be `user`."""
    patch.setenv("MLFLOW_TRACKING_USERNAME", user)
    patch.setenv("MLFLOW_TRACKING_PASSWORD", password)
