"""Secrets out of what is logged, printed or written: by the name of a setting, and by what a text holds.

A secret is known by its key (`password`, `hf_token`, `AWS_SECRET_ACCESS_KEY`), by the value that such a key has in
this process's environment or settings, or by its form (a URL's `user:password@`, a bearer token, a private key).
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any
from urllib.parse import quote

HIDDEN = "***"
SHORTEST = 6
"""Values of fewer characters are hidden under their key, but not searched for in texts: they are also words."""

_WORDS = {"password", "passwd", "passphrase", "pwd", "secret", "token", "credential", "credentials", "apikey"}
_PAIRS = {("api", "key"), ("access", "key"), ("private", "key"), ("account", "key"), ("secret", "key")}
_NAMES = r"[\w.-]{0,40}(?:password|passwd|passphrase|secret|token|api[_-]?key|access[_-]?key|private[_-]?key)"
_FORMS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"(?s)-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)"), HIDDEN),
    (re.compile(r"(?<=://)([^/\s:@'\"]*):[^/\s@'\"]+@"), rf"\1:{HIDDEN}@"),
    (re.compile(r"(?i)\b(bearer|basic)\s+[\w.~+/=-]{8,}"), rf"\1 {HIDDEN}"),
    (re.compile(r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"), HIDDEN),
    (re.compile(r"\b(?:hf_|ghp_|gho_|ghs_|github_pat_|glpat-|sk-|xox[abp]-)[\w-]{16,}"), HIDDEN),
    (re.compile(rf"(?i)\b({_NAMES}[\"']?\s*=\s*[\"']?)[^\s\"',;&)]+"), rf"\1{HIDDEN}"),
    (re.compile(rf"(?im)^(\s*[\"']?{_NAMES}[\"']?\s*:\s+)(?![\[{{|>]).+$"), rf"\1{HIDDEN}"),
)
_REMEMBERED: set[str] = set()


def is_secret(key: str) -> bool:
    """Whether a setting of this name holds a secret.

    >>> [is_secret(key) for key in ("MLFLOW_TRACKING_TOKEN", "model.kwargs.apiKey", "tokenizer", "max_tokens")]
    [True, True, False, False]
    """
    words = re.findall(r"[a-z]+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", key).lower())
    return not _WORDS.isdisjoint(words) or any(pair in _PAIRS for pair in pairwise(words))


def remember(settings: Mapping[str, Any]) -> None:
    """Search for the secrets of these settings in every text from now on: a library may print what it was given."""
    _REMEMBERED.update(value for key, value in _leaves(settings) if is_secret(key) and len(value) >= SHORTEST)


def text(words: str, *, environ: Mapping[str, str] = os.environ) -> str:
    """Return `words` with every secret that is known or looks like one replaced by `***`."""
    known = {value for key, value in environ.items() if is_secret(key) and len(value) >= SHORTEST} | _REMEMBERED
    for secret in sorted(known, key=len, reverse=True):
        for form in {secret, quote(secret, safe="")}:
            words = words.replace(form, HIDDEN)
    for form_of_secret, replacement in _FORMS:
        words = form_of_secret.sub(replacement, words)
    return words


def file(name: str, content: str) -> str:
    """Return a text file's content without secrets; pages are left alone: they are made of tables, and of scripts."""
    return content if name.endswith(".html") else text(content)


def settings(value: Any, *, key: str = "") -> Any:
    """Return plain containers with every secret replaced: what stands under a secret's key, and what texts hold."""
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
