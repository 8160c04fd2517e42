from __future__ import annotations

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
    monkeypatch.setattr(redact, "_REMEMBERED", set())
    assert redact.text("got s3cr3t-value") == "got s3cr3t-value"
    redact.remember({"model": {"kwargs": {"hub_token": "s3cr3t-value", "name": "ordinary"}}})
    assert redact.text("got s3cr3t-value of ordinary") == "got *** of ordinary"


def test_an_error_does_not_say_a_password() -> None:
    assert str(TrackingError("http://me:pa55word@host does not answer")) == "http://me:***@host does not answer"
