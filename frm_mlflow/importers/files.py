"""Foreign files, read with limits: nothing is executed, unpacked or followed out of its archive.

Every function raises `ImportFileError` naming the file, and the row where there is one.
"""

from __future__ import annotations

import csv
import hashlib
import json
import math
import re
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path, PurePosixPath
from typing import Any, NoReturn

import yaml

from frm_mlflow.errors import ImportFileError

MAX_BYTES = 64 * 2**20
"""Largest text file that is read; AI Hub's largest is 0.15 MB, timm's 0.1."""
MAX_LINE = 2**20
MAX_MEMBERS = 100_000
MISSING = frozenset({"", "-", "n/a", "na", "nan", "none", "null", "inf", "-inf", "+inf"})
"""Words (lower case) for a figure that was not measured."""

_YAML_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def fail(file: str, problem: str, *, row: object = None) -> NoReturn:
    """Raise the error of a file, at a row where there is one."""
    where = file if row is None else f"{file}, row {row}"
    raise ImportFileError(f"{where}: {problem}")


class Tree:
    """Files below a folder or in a zip archive (a wheel), by their path with forward slashes.

    An archive stays open until the end of the `with` block; nothing of it is written to disk.
    """

    def __init__(self, path: Path) -> None:
        self.root = path
        self._archive = None if path.is_dir() else _open_archive(path)
        self.names = _members(self._archive) if self._archive else _files_below(path)

    def __enter__(self) -> Tree:
        return self

    def __exit__(self, *_: object) -> None:
        if self._archive:
            self._archive.close()

    def text(self, name: str) -> str:
        """Return one file's text."""
        if self._archive is None:
            return read_text(self.root / name, shown=name)
        try:
            with self._archive.open(name) as stream:
                content = stream.read(MAX_BYTES + 1)
        except (OSError, zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as error:
            fail(name, f"cannot be unpacked: {error}")
        return _decoded(content, name)

    def date(self, name: str) -> datetime:
        """Return when a file was written, in UTC (a zip archive keeps no time zone: taken as UTC)."""
        if self._archive is None:
            return modified(self.root / name)
        return datetime(*self._archive.getinfo(name).date_time, tzinfo=timezone.utc)


def _open_archive(path: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except (OSError, zipfile.BadZipFile) as error:
        fail(path.name, f"is neither a folder nor a complete zip archive or wheel ({error})")


def _members(archive: zipfile.ZipFile) -> frozenset[str]:
    """Return the members' names; a name that points out of the archive is refused."""
    shown = Path(str(archive.filename)).name
    names = [item.filename for item in archive.infolist() if not item.is_dir()]
    if len(names) > MAX_MEMBERS:
        fail(shown, f"holds {len(names)} files; at most {MAX_MEMBERS} are read")
    for name in names:
        path = PurePosixPath(name.replace("\\", "/"))
        if path.is_absolute() or ".." in path.parts or ":" in path.parts[0]:
            fail(shown, f"member '{name}' points out of the archive")
    return frozenset(names)


def _files_below(folder: Path) -> frozenset[str]:
    """Return the paths of regular files; links are not followed."""
    found = (file for file in folder.rglob("*") if file.is_file() and not file.is_symlink())
    return frozenset(file.relative_to(folder).as_posix() for file in found)


@contextmanager
def expected_layout(file: str) -> Iterator[None]:
    """Turn what goes wrong where a document has another shape than its format's into an error naming the file."""
    try:
        yield
    except (KeyError, TypeError, AttributeError, ValueError, IndexError, OverflowError) as error:
        fail(file, f"is not laid out as its format is ({type(error).__name__}: {error})")


def modified(path: Path) -> datetime:
    """Return when a file was last written, in UTC."""
    return datetime.fromtimestamp(path.stat().st_mtime, tz=timezone.utc)


def _decoded(content: bytes, shown: str) -> str:
    if len(content) > MAX_BYTES:
        fail(shown, f"is larger than {MAX_BYTES // 2**20} MiB")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        fail(shown, f"is not UTF-8 text (byte {error.start})")


def read_text(path: Path, *, shown: str | None = None) -> str:
    """Return a text file's content, up to `MAX_BYTES`."""
    name = shown or path.name
    try:
        with path.open("rb") as stream:
            return _decoded(stream.read(MAX_BYTES + 1), name)
    except OSError as error:
        fail(name, f"cannot be read: {error.strerror}")


def fingerprint(text: str) -> str:
    """Return the version of a file that states none: a hash of its content."""
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()[:12]


def lines_of(text: str, file: str) -> list[str]:
    """Return the lines of `text`, none longer than `MAX_LINE`."""
    lines = text.splitlines()
    for number, line in enumerate(lines, start=1):
        if len(line) > MAX_LINE:
            fail(file, f"the line is {len(line):,} characters long; at most {MAX_LINE:,} are read", row=number)
    return lines


def load_yaml(text: str, file: str) -> Any:
    """Return a YAML document of plain values; anchors, aliases and tags are refused.

    An alias is how a small document names a huge one, and no known source uses them.
    """
    try:
        if "*" in text or "&" in text:
            for event in yaml.parse(text, Loader=_YAML_LOADER):
                if isinstance(event, yaml.AliasEvent):
                    fail(file, "YAML aliases are not read", row=event.start_mark.line + 1 if event.start_mark else None)
        return yaml.load(text, Loader=_YAML_LOADER)  # noqa: S506 - a safe loader  # nosec B506
    except yaml.MarkedYAMLError as error:
        row = error.problem_mark.line + 1 if error.problem_mark else None
        fail(file, f"is not YAML of plain values: {error.problem}", row=row)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        fail(file, f"is not YAML of plain values: {type(error).__name__}")


def load_json(text: str, file: str) -> Any:
    """Return a JSON document; NaN and Infinity, which JSON does not have, become None."""
    try:
        return json.loads(text, parse_constant=lambda _: None)
    except json.JSONDecodeError as error:
        fail(file, f"is not JSON: {error.msg}", row=error.lineno)
    except RecursionError:
        fail(file, "is nested too deeply")


def read_csv(text: str, file: str) -> Iterator[tuple[int, Mapping[str, str]]]:
    """Yield (row number in the file, column to cell); every row must have the header's length."""
    reader = csv.reader((line + "\n" for line in lines_of(text, file)), strict=True)
    try:
        header = [cell.strip() for cell in next(reader, [])]
        if not header or len(set(header)) != len(header):
            fail(file, "has no header, or one that names a column twice", row=1)
        for cells in reader:
            if not any(cells):
                continue
            if len(cells) != len(header):
                fail(file, f"has {len(cells)} cells where the header has {len(header)}", row=reader.line_num)
            yield reader.line_num, dict(zip(header, cells, strict=True))
    except csv.Error as error:
        fail(file, f"is not CSV: {error}", row=reader.line_num)


def word(cell: object, file: str, row: object) -> str:
    """Return a text cell; a spreadsheet formula or control characters are refused.

    A name that starts like a formula would be executed by the spreadsheet that somebody opens
    the exported runs with.
    """
    text = str(cell).strip()
    if text[:1] in ("=", "+", "@") or re.match(r"-[^\d.]", text):
        fail(file, f"'{text[:40]}' starts like a spreadsheet formula", row=row)
    if len(text) > 250 or any(ord(character) < 32 for character in text):
        fail(file, "a name is longer than 250 characters or holds control characters", row=row)
    return text


def number(cell: object, file: str, row: object, *, name: str) -> float | None:
    """Return a figure, or None where the cell says that there is none (`N/A`, empty, NaN)."""
    if cell is None or (isinstance(cell, str) and cell.strip().lower() in MISSING):
        return None
    problem = f"{name} is '{str(cell)[:40]}', not a number"
    if isinstance(cell, bool) or "_" in str(cell):
        fail(file, problem, row=row)
    try:
        value = float(cell.replace(",", "") if isinstance(cell, str) else cell)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        fail(file, problem, row=row)
    return value if math.isfinite(value) else None


def whole(cell: object, file: str, row: object, *, name: str) -> int | None:
    """Return a positive whole number, or None where the cell says that there is none."""
    value = number(cell, file, row, name=name)
    if value is None:
        return None
    if value < 1 or value != int(value):
        fail(file, f"{name} must be a positive whole number, got {value:g}", row=row)
    return int(value)
