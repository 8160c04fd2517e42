"""Names that resemble what was typed: the only place that decides what counts as similar."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

CUTOFF = 0.6
MISTYPED = 0.8
"""Minimum similarity of what was typed to the beginning of a longer name: `onx` for `onnxruntime`."""
LIMIT = 3


def near_names(typed: str, candidates: Iterable[str]) -> list[str]:
    """Return at most three candidates that resemble `typed`, the most similar first, else in the given order.

    Case and the separators `-`, `_`, `.` and space are ignored. A name that begins with what was typed is similar.

    >>> near_names("benhc", ["bench", "report", "ingest"])
    ['bench']
    >>> near_names("Galaxy S25", ["Samsung Galaxy S25", "Google Pixel 7"])
    ['Samsung Galaxy S25']
    """
    spelled: dict[str, str] = {}
    for candidate in sorted(candidates) if isinstance(candidates, (set, frozenset)) else candidates:
        spelled.setdefault(_plain(candidate), candidate)
    plain = _plain(typed)
    prefixed = [name for name in spelled if len(plain) > 1 and name.startswith(plain)]
    containing = [name for name in spelled if len(plain) > 3 and plain in name]
    close = difflib.get_close_matches(plain, spelled, n=LIMIT, cutoff=CUTOFF)
    mistyped = [name for name in spelled if len(plain) > 2 and _begins_like(plain, name)]
    return [spelled[name] for name in dict.fromkeys([*close, *prefixed, *containing, *mistyped])][:LIMIT]


def did_you_mean(typed: str, candidates: Iterable[str]) -> str:
    """Return a sentence that suggests similar names, with a leading space, or "" if there are none.

    >>> did_you_mean("resnt50", ["resnet50", "levit_128s"])
    " Did you mean 'resnet50'?"
    """
    names = [f"'{name}'" for name in near_names(typed, candidates)]
    if not names:
        return ""
    return f" Did you mean {' or '.join([', '.join(names[:-1]), names[-1]] if len(names) > 1 else names)}?"


def _begins_like(plain: str, name: str) -> bool:
    return difflib.SequenceMatcher(None, plain, name[: len(plain) + 1]).ratio() > MISTYPED


def _plain(name: str) -> str:
    return name.casefold().translate(str.maketrans("", "", "-_. "))
