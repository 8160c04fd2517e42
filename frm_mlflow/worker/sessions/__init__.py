"""One session class per runtime; a runtime is imported only when its session is opened."""

from __future__ import annotations

from importlib import import_module

from ..runtimes import RUNTIMES
from .base import Session, SessionError, Target


def open_session(runtime: str, target: Target) -> Session:
    """Import the runtime and return its session, without a model loaded.

    Raises
    ------
    SessionError
        If the runtime is unknown (`unsupported`) or not installed (`missing_package`).
    """
    if runtime not in RUNTIMES:
        raise SessionError(f"unknown runtime '{runtime}', valid: {', '.join(RUNTIMES)}", kind="unsupported")
    module, _, name = RUNTIMES[runtime].session.partition(":")
    try:
        session_class = getattr(import_module(f".{module}", __package__), name)
    except ModuleNotFoundError as error:
        package = (error.name or runtime).partition(".")[0]
        raise SessionError(
            f"runtime '{runtime}' needs the package '{package}'", kind="missing_package", package=package
        ) from error
    session: Session = session_class(target)
    return session
