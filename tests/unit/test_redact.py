from __future__ import annotations

import os
import sys
import threading
import time
from pathlib import Path

import pytest

from frm_mlflow import redact
from frm_mlflow.errors import TrackingError

ENVIRON = {"MLFLOW_TRACKING_PASSWORD": "correct horse", "HOME": "/home/me", "DB_TOKEN": "short"}


@pytest.mark.parametrize(
    ("words", "secret"),
    [
        ("login as me:correct horse failed", "correct horse"),
        ("GET /x?pw=correct%20horse", "correct%20horse"),
        ("postgresql://me:pa55word@db/mlflow cannot be reached", "pa55word"),
        ("https://x-access-token:abcdef@github.com/a/b.git", "abcdef"),
        ("Authorization: Bearer eyJhbGciOi.J9-_x", "eyJhbGciOi.J9-_x"),
        ("key AKIAIOSFODNN7EXAMPLE", "AKIAIOSFODNN7EXAMPLE"),
        ("hf_abcdefghijklmnopqrstuvwxyz", "hf_abcdefghijklmnopqrstuvwxyz"),
        ("model.kwargs.api_key=k-1234", "k-1234"),
        ("  hub_token: t-1234\n", "t-1234"),
        ("-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----", "MIIE"),
    ],
)
def test_a_secret_is_found_by_its_value_or_by_its_form(words: str, secret: str) -> None:
    cleaned = redact.text(words, environ=ENVIRON)
    assert secret in words
    assert secret not in cleaned
    assert redact.HIDDEN in cleaned
    assert redact.text(cleaned, environ=ENVIRON) == cleaned


@pytest.mark.parametrize(
    "words",
    [
        "/home/me/short",
        "the tokenizer has max_tokens=5",
        "http://127.0.0.1:5000/a@b",
        "12:30 token list",
        "a: 1\nb: x@y",
    ],
)
def test_what_is_no_secret_stays(words: str) -> None:
    assert redact.text(words, environ=ENVIRON) == words


def test_settings_are_redacted_by_key_and_stay_what_they_are() -> None:
    given = {"a": {"password": "x", "user": "me"}, "tokens": [1, 2], "token": None, "list": [{"apiKey": 5}], "f": 0.5}
    assert redact.settings(given) == {
        "a": {"password": "***", "user": "me"},
        "tokens": [1, 2],
        "token": None,
        "list": [{"apiKey": "***"}],
        "f": 0.5,
    }
    assert given["a"]["password"] == "x", "what is given is not changed"


def test_what_a_setting_holds_is_searched_for_in_texts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redact, "_REMEMBERED", frozenset())
    assert redact.text("got s3cr3t-value") == "got s3cr3t-value"
    redact.remember({"model": {"kwargs": {"hub_token": "s3cr3t-value", "name": "ordinary"}}})
    assert redact.text("got s3cr3t-value of ordinary") == "got *** of ordinary"


def test_an_error_does_not_say_a_password() -> None:
    assert str(TrackingError("http://me:pa55word@host does not answer")) == "http://me:***@host does not answer"


@pytest.mark.parametrize(
    ("words", "secret"),
    [
        ("DefaultEndpointsProtocol=https;AccountName=a;AccountKey=Zm9vYmFy+/x==;EndpointSuffix=core", "Zm9vYmFy+/x=="),
        ("https://a.blob.core.windows.net/c/f?sv=2024-11-04&se=2027&sig=abc%2Fdef%3D&sp=r", "abc%2Fdef%3D"),
        ("sv=2024-11-04\nsig=abcDEF123", "abcDEF123"),
        ("https://b.s3.amazonaws.com/k?X-Amz-Credential=AK%2F2027&X-Amz-Signature=0a1b2c3d", "0a1b2c3d"),
        ("https://storage.googleapis.com/b/o?X-Goog-Signature=deadbeef00&x=1", "deadbeef00"),
        ("SharedAccessSignature=sv=1&sig=qwertyuiop", "qwertyuiop"),
        ("Driver={ODBC};UID=me;PWD=p4ss!word;Database=mlflow", "p4ss!word"),
        ("mssql+pyodbc:///?odbc_connect=UID%3Dme%3BPWD%3Dp4ssword%3BDatabase%3Dm", "p4ssword"),
        ("postgresql://me:pa/ss?word@db:5432/mlflow", "pa/ss?word"),
        ("http://me:p@ss:word@host:5000/", "p@ss:word"),
        ("mysql+pymysql://:s3cr3t@db/x", "s3cr3t"),
        ("token dapi0123456789abcdef0123456789abcdef", "dapi0123456789abcdef0123456789abcdef"),
        ('{"user": "me", "client_secret": "qu oted", "n": 1}', "qu oted"),
        ("eyJhbGciOiJIUzI1.eyJzdWIiOiIxMjM0.SflKxwRJSMeKKF2QT4", "SflKxwRJSMeKKF2QT4"),
        ('the answer was {"x": "correct \\"horse"}', 'correct \\"horse'),
    ],
)
def test_credentials_of_stores_are_hidden_by_form(words: str, secret: str) -> None:
    cleaned = redact.text(words, environ=ENVIRON | {"OTHER_PASSWORD": 'correct "horse'})
    assert secret in words
    assert secret not in cleaned
    assert redact.text(cleaned, environ=ENVIRON) == cleaned


def test_folders_and_paths_are_not_secrets(tmp_path: Path) -> None:
    key_file = tmp_path / "key.json"
    key_file.touch()
    environ = {
        "PWD": "/home/me/project",
        "OLDPWD": "/home/me/earlier",
        "AWS_WEB_IDENTITY_TOKEN_FILE": "/var/run/secrets/token",
        "GOOGLE_APPLICATION_CREDENTIALS": str(key_file),
    }
    for path in environ.values():
        assert redact.text(f"read from {path}/x", environ=environ) == f"read from {path}/x"


def test_the_environment_may_change_while_secrets_are_hidden() -> None:
    stop = threading.Event()

    def change() -> None:
        while not stop.is_set():
            os.environ["FRM_TEST_SESSION"] = "x"
            os.environ.pop("FRM_TEST_SESSION", None)
            redact.remember({"some_token": os.urandom(8).hex()})

    before, thread = redact._REMEMBERED, threading.Thread(target=change)
    switch = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    thread.start()
    try:
        deadline = time.monotonic() + 1.0
        while time.monotonic() < deadline:
            redact._REMEMBERED = before
            assert redact.text("hello") == "hello"
    finally:
        sys.setswitchinterval(switch)
        stop.set()
        thread.join()
        redact._REMEMBERED = before


def test_our_loggers_hide_secrets_of_arguments_and_tracebacks(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DB_PASSWORD", "correct horse")
    logger = redact.logger("frm_mlflow.some_test")
    try:
        raise ValueError("login with correct horse failed")  # noqa: TRY301
    except ValueError:
        logger.exception("%s at %s", "correct horse", "postgresql://me:pa55word@db")
    assert "correct horse" not in caplog.text
    assert "pa55word" not in caplog.text
    assert "ValueError" in caplog.text
