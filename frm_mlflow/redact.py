"""Removes secrets from what is logged, printed or written, by a setting's name and by a text's content.

A secret is recognised by its key (`password`, `hf_token`, `AWS_SECRET_ACCESS_KEY`), by the value that such a key has
in this process's environment or settings, or by its form (a URL's `user:password@`, a bearer token, a private key).
"""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from itertools import pairwise
from typing import Any
from urllib.parse import quote, quote_plus

HIDDEN = "***"
SHORTEST = 6
"""Shorter values are hidden under their key, but not searched for in texts, since they are also ordinary words."""

_WORDS = {"password", "passwd", "passphrase", "pwd", "secret", "token", "credential", "credentials", "apikey"}
_PAIRS = {
    ("api", "key"),
    ("access", "key"),
    ("private", "key"),
    ("account", "key"),
    ("secret", "key"),
    ("sas", "key"),
    ("signing", "key"),
    ("encryption", "key"),
    ("connection", "string"),
}
_FOLDERS = frozenset({"PWD", "OLDPWD"})
"""Shell variables that contain a folder, not a password."""
_PLACES = frozenset({"file", "path", "dir", "directory", "folder", "url", "uri", "endpoint"})
"""Last words of keys that name where a secret is stored, such as `AWS_WEB_IDENTITY_TOKEN_FILE`."""
_KEYS = r"(?:api|access|private|account|secret|signing|shared[_-]?access)[_-]?key"
_NAMES = rf"[\w.-]{{0,40}}(?:password|passwd|passphrase|secret|token|{_KEYS})"
_FORMS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"(?s)-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)"), HIDDEN),
    (re.compile(r"(?<=://)([^/\s:@'\"]*):[^/\s'\"]+@"), rf"\1:{HIDDEN}@"),
    # SQLAlchemy also accepts a slash in the password of a database's address.
    (re.compile(r"(?<=[a-z0-9]://)(?<!http://)(?<!https://)([^/\s:@'\"]*):[^\s'\"@]+@(?=[\w.\[:-])"), rf"\1:{HIDDEN}@"),
    (re.compile(r"(?i)\b(bearer|basic)\s+[\w.~+/=-]{8,}"), rf"\1 {HIDDEN}"),
    (re.compile(r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"), HIDDEN),
    (re.compile(r"\b(?:hf_|ghp_|gho_|ghs_|ghu_|github_pat_|glpat-|sk-|xox[abpr]-|dapi|AIza|ya29\.)[\w-]{16,}"), HIDDEN),
    (re.compile(r"\beyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]{8,}"), HIDDEN),
    # Azure's shared access signatures, and the signed addresses of S3 and Google's storage.
    (
        re.compile(r"(?i)((?:[?&;\s\"']|^|%26)(?:sig|signature|x-(?:amz|goog)-(?:signature|credential))=)[^&\s\"';]+"),
        rf"\1{HIDDEN}",
    ),
    # An ODBC connection string, as it is and quoted within a URL.
    (
        re.compile(r"(?i)((?:[;?&]\s*|%3B(?:%20|\+)*)(?:pwd)(?:=|%3D))(?:\{[^}]*\}|(?:(?!%3B)[^;&\s\"'])+)"),
        rf"\1{HIDDEN}",
    ),
    (re.compile(rf"(?i)\b({_NAMES}[\"']?\s*(?:=|%3D)\s*[\"']?)(?:(?!%3B|%26)[^\s\"',;&)])+"), rf"\1{HIDDEN}"),
    (re.compile(rf"(?i)([\"']{_NAMES}[\"']\s*:\s*([\"']))(?:(?!\2).)+"), rf"\1{HIDDEN}"),
    (re.compile(rf"(?im)^(\s*{_NAMES}\s*:\s+)(?![\[{{|>]).+$"), rf"\1{HIDDEN}"),
)
_REMEMBERED: frozenset[str] = frozenset()


@lru_cache(maxsize=4096)
def is_secret(key: str) -> bool:
    """Whether a setting of this name holds a secret.

    >>> [is_secret(key) for key in ("MLFLOW_TRACKING_TOKEN", "model.kwargs.apiKey", "tokenizer", "PWD")]
    [True, True, False, False]
    """
    words = re.findall(r"[a-z]+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", key).lower())
    if key in _FOLDERS or (words and words[-1] in _PLACES):
        return False
    return not _WORDS.isdisjoint(words) or any(pair in _PAIRS for pair in pairwise(words))


def snapshot(environ: Mapping[str, str]) -> dict[str, str]:
    """Return a copy of the environment, since another thread may set and delete variables meanwhile."""
    copied = ((key, environ.get(key)) for key in list(environ))
    return {key: value for key, value in copied if value is not None}


def remember(settings: Mapping[str, Any]) -> None:
    """Search every text for the secrets of these settings from now on: a library may print the values it was given."""
    global _REMEMBERED
    secrets = {value for key, value in _leaves(settings) if is_secret(key) and len(value) >= SHORTEST}
    _REMEMBERED = _REMEMBERED | secrets


def text(words: str, *, environ: Mapping[str, str] = os.environ) -> str:
    """Return `words` with every secret that is remembered or looks like one replaced by `***`."""
    secrets = {value for key, value in snapshot(environ).items() if is_secret(key) and _is_searched(value)}
    for secret in sorted(secrets | _REMEMBERED, key=len, reverse=True):
        for form in {secret, quote(secret, safe=""), quote_plus(secret), json.dumps(secret)[1:-1], repr(secret)[1:-1]}:
            words = words.replace(form, HIDDEN)
    for form_of_secret, replacement in _FORMS:
        words = form_of_secret.sub(replacement, words)
    return words


def _is_searched(value: str) -> bool:
    """Whether texts are searched for a secret variable's value: a path only states where the secret is stored."""
    return len(value) >= SHORTEST and not (value.startswith(("/", "~/")) and os.path.exists(os.path.expanduser(value)))  # noqa: PTH110, PTH111


def file(name: str, content: str) -> str:
    """Return a text file's content without secrets; HTML pages are unchanged: they consist of tables and scripts."""
    return content if name.endswith(".html") else text(content)


def settings(value: Any, *, key: str = "") -> Any:
    """Return plain containers with every secret replaced: the value of a secret key, and secrets within texts."""
    if isinstance(value, Mapping):
        return {name: settings(item, key=str(name)) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [settings(item, key=key) for item in value]
    if key and is_secret(key) and value is not None and value != "":
        return HIDDEN
    return text(value) if isinstance(value, str) else value


def _leaves(value: Any, key: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        for name, item in value.items():
            yield from _leaves(item, str(name))
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _leaves(item, key)
    elif isinstance(value, str):
        yield key, value


class _Filter(logging.Filter):
    """Hides the secrets in a log record before any handler receives it."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = text(record.getMessage()), None
        if record.exc_info:
            record.exc_text, record.exc_info = text(logging.Formatter().formatException(record.exc_info)), None
        return True


def logger(name: str) -> logging.Logger:
    """Return the logger with this name, which never logs secrets."""
    named = logging.getLogger(name)
    if not any(isinstance(one, _Filter) for one in named.filters):
        named.addFilter(_Filter())
    return named
