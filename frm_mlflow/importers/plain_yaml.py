"""YAML of plain values, built from the parser's events within limits of depth, count and time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import yaml

from frm_mlflow.importers.limits import MAX_DEPTH, MAX_VALUES, fail, within_time

_YAML_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_SCALAR_TAGS = frozenset(f"tag:yaml.org,2002:{name}" for name in ("bool", "float", "int", "null", "str", "timestamp"))


def load_yaml(text: str, file: str) -> Any:
    """Return a YAML document of plain values; anchors, aliases and tags are rejected.

    Aliases let a small document expand to a huge one, and no supported source uses them. The document
    is built from the parser's events, not by recursion: 100,000 nested brackets would crash the
    process in libyaml's composer.
    """
    try:
        return _document(text, file)
    except yaml.MarkedYAMLError as error:
        row = error.problem_mark.line + 1 if error.problem_mark else None
        fail(file, f"is not YAML of plain values: {error.problem}", row=row)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        fail(file, f"is not YAML of plain values: {type(error).__name__}")


@dataclass(slots=True)
class _Open:
    """A list or mapping whose end has not been reached."""

    content: Any
    key: Any = None
    has_key: bool = False

    def put(self, value: Any, file: str, row: int) -> None:
        if isinstance(self.content, list):
            self.content.append(value)
        elif self.has_key:
            self.content[self.key] = value
            self.has_key = False
        elif isinstance(value, list | dict):
            fail(file, "a list or mapping as a key is not read", row=row)
        else:
            self.key, self.has_key = value, True


def _document(text: str, file: str) -> Any:
    scalars = _Scalars()
    stack: list[_Open] = []
    document: Any = None
    number = 0
    for event in yaml.parse(text, Loader=_YAML_LOADER):
        row = event.start_mark.line + 1 if event.start_mark else 0
        number += 1
        if number % 4096 == 0:
            within_time(file)
        if number > MAX_VALUES:
            fail(file, f"holds more than {MAX_VALUES:,} values", row=row)
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            fail(file, "YAML aliases are not read", row=row)
        if isinstance(event, yaml.ScalarEvent):
            value = scalars.value(event)
        elif isinstance(event, yaml.CollectionStartEvent):
            if event.tag and event.tag not in ("tag:yaml.org,2002:map", "tag:yaml.org,2002:seq", "!"):
                fail(file, f"is not YAML of plain values: tag {event.tag[:60]}", row=row)
            if len(stack) >= MAX_DEPTH:
                fail(file, f"is nested more than {MAX_DEPTH} levels deep", row=row)
            stack.append(_Open([] if isinstance(event, yaml.SequenceStartEvent) else {}))
            continue
        elif isinstance(event, yaml.CollectionEndEvent):
            value = stack.pop().content
        else:
            continue
        if stack:
            stack[-1].put(value, file, row)
        else:
            document = value
    return document


class _Scalars:
    """Plain YAML values by PyYAML's safe rules; each distinct text is resolved once."""

    def __init__(self) -> None:
        self._loader = yaml.SafeLoader("")
        self._plain: dict[str, Any] = {}

    def value(self, event: yaml.ScalarEvent) -> Any:
        if event.tag is None and event.implicit[0]:
            if event.value not in self._plain:
                self._plain[event.value] = self._constructed(event)
            return self._plain[event.value]
        return self._constructed(event)

    def _constructed(self, event: yaml.ScalarEvent) -> Any:
        tag = event.tag
        if tag is None or tag == "!":
            tag = self._loader.resolve(yaml.ScalarNode, event.value, event.implicit)  # type: ignore[no-untyped-call]
        if tag == "tag:yaml.org,2002:merge":
            tag = "tag:yaml.org,2002:str"
        if tag not in _SCALAR_TAGS:
            raise yaml.constructor.ConstructorError(None, None, f"tag {tag[:60]}")
        return self._loader.construct_object(yaml.ScalarNode(tag, event.value))
