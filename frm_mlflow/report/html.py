"""HTML pages from the templates of this package: every value that a template prints is escaped, except `Markup`."""

from __future__ import annotations

from functools import cache
from importlib import resources
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from frm_mlflow.escape import LONGEST_SENTENCE, visible


def render(template: str, **values: Any) -> str:
    """Return a page: `templates/TEMPLATE` with `values`.

    Names and sentences are shown on one line, with control and bidi characters as escapes (`frm_mlflow.escape`).
    """
    return _environment().get_template(template).render(values)


def asset(name: str) -> Markup:
    """Return a style sheet or script of this package, which a page includes unescaped."""
    text = (resources.files("frm_mlflow.report") / "static" / name).read_text(encoding="utf-8")
    return Markup(text)  # noqa: S704 - our own file  # nosec B704


@cache
def _environment() -> Environment:
    environment = Environment(
        autoescape=True,
        finalize=_visible,
        loader=PackageLoader("frm_mlflow.report"),
        lstrip_blocks=True,
        trim_blocks=True,
        undefined=StrictUndefined,
    )
    # `tojson` also replaces the characters that could end a script element.
    environment.policies["json.dumps_kwargs"] = {
        "allow_nan": False,
        "ensure_ascii": False,
        "separators": (",", ":"),
    }
    return environment


def _visible(value: Any) -> Any:
    if isinstance(value, str) and not isinstance(value, Markup):
        return visible(value, longest=LONGEST_SENTENCE)
    return value
