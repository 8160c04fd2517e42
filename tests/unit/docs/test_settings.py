"""Every `key=` in the docs, in help texts and in messages is a setting of the command that the text is about."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest
import yaml

from frm_mlflow.errors import ConfigError
from frm_mlflow.overrides import SETTINGS, prepared

ROOT = Path(__file__).resolve().parents[3]

PREDICTING = ("predict", "recommend", "plan")
MEASURING = ("bench", "attach", "gate")
COMMANDS_OF: dict[str, tuple[str, ...]] = {
    "docs/analyses.md": ("analyze", "bench"),
    "docs/gate.md": ("gate", "attach"),
    "docs/importing.md": ("ingest",),
    "docs/measuring.md": MEASURING,
    "docs/prediction.md": PREDICTING,
    "docs/how-to/gpu.md": MEASURING,
    "docs/how-to/jetson.md": MEASURING,
    "docs/how-to/phone.md": MEASURING,
    "docs/how-to/report.md": ("report",),
    "frm_mlflow/analysis": ("analyze", "bench"),
    "frm_mlflow/devices": MEASURING,
    "frm_mlflow/export": MEASURING,
    "frm_mlflow/gate": ("gate", "bench"),
    "frm_mlflow/importers": ("ingest",),
    "frm_mlflow/measure": MEASURING,
    "frm_mlflow/prediction": PREDICTING,
    "frm_mlflow/sweep": ("bench", "analyze"),
    "frm_mlflow/worker": MEASURING,
}
"""The commands that a page or a package is about; any command elsewhere."""
OF_OTHERS = {
    # MLflow's and Python's functions
    *("input_example", "run_id", "run_name", "dynamo", "allow_pickle", "weights_only", "cached", "every_n_epochs"),
    *("evaluator_config", "evaluators", "overrides"),
    # options of runtimes, compilers, servers and tools
    *("use_tf32", "allow_spinning", "mode", "auth_cache_ttl_seconds", "count", "first", "avg"),
    # examples of values
    *("ids", "mask", "npu", "cpu", "key"),
}
"""Words before `=` that are not settings of ours."""

_KEY = r"[a-z][a-z0-9_]*(?:[./][A-Za-z0-9_]+)*"
_ASSIGNED = re.compile(rf"(?<![\w.\-/$&?{{}}%(=\"'])\+?(?P<key>{_KEY})=(?![=\"'$(]|True|False)")
_DOTTED = re.compile(r"(?<![\w.`/\-])(?P<key>[a-z_]+(?:\.[a-z_]+)+)(?![\w(/.=])")


@dataclass(frozen=True)
class Mention:
    """A key in a text."""

    place: str
    key: str
    commands: tuple[str, ...]


@cache
def is_setting(command: str, key: str) -> bool:
    if re.split(r"[./]", key)[0] == "hydra":
        return _is_hydras(key)
    try:
        prepared(command, [f"{key}=null"])
    except ConfigError as error:
        return "has no setting" not in str(error)
    return True


def _is_hydras(key: str) -> bool:
    """Whether a key is one of Hydra's that the docs may name, or a setting of a launcher in `conf/`."""
    if key in ("hydra/launcher", "hydra.searchpath"):
        return True
    launchers = (ROOT / "conf" / "hydra" / "launcher").glob("*.yaml")
    return any(key.removeprefix("hydra.launcher.") in yaml.safe_load(path.read_text()) for path in launchers)


def commands_about(place: str, text: str) -> tuple[str, ...]:
    """Return the commands that a text is about: the ones that it names, otherwise those of its page or package."""
    named = tuple(name for name in re.findall(r"frm-mlflow ([a-z]+)", text) if name in SETTINGS)
    if named:
        return named
    matches = [names for prefix, names in COMMANDS_OF.items() if place.startswith(prefix)]
    return matches[0] if matches else tuple(SETTINGS)


def mentions(place: str, line: str, *, context: str = "") -> Iterator[Mention]:
    for match in _ASSIGNED.finditer(line):
        if match["key"] not in OF_OTHERS:
            yield Mention(place, match["key"], commands_about(place, line + context))


def in_docs() -> Iterator[Mention]:
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]:
        place = page.relative_to(ROOT).as_posix()
        text = re.sub(r"^ *```(python|yaml|toml).*?^ *```", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
        blocks = re.findall(r"^ *```\w*\n(.*?)^ *```", text, re.M | re.S)
        prose = re.sub(r"^ *```.*?^ *```", "", text, flags=re.M | re.S)
        lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
        lines = [line for line in lines if re.match(r"\s*(\$ )?(PATH=\S+ )?(\S+/)?(frm-mlflow|mlflow run) ", line)]
        for line in [*lines, *re.findall(r"`([^`]+)`", prose)]:
            yield from mentions(place, line.split(" # ")[0])


def in_help() -> Iterator[Mention]:
    for path in sorted((ROOT / "conf").rglob("*.yaml")):
        place = path.relative_to(ROOT).as_posix()
        context = f" frm-mlflow {path.stem}" if path.stem in SETTINGS and path.parent.name == "conf" else ""
        text = path.read_text(encoding="utf-8")
        comments = re.findall(r"#(.*)", text)
        shown = (yaml.safe_load(text) or {}).get("hydra", {}).get("help", {}).get("header", "")
        for line in [*comments, *shown.splitlines()]:
            yield from mentions(place, line, context="" if "frm-mlflow " in line else context)


def messages(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the line and text of every string that is not a docstring; the values of an f-string are `{}`."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    skipped: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            skipped.add(id(node.value))
        if isinstance(node, ast.JoinedStr):
            skipped |= {id(part) for part in ast.walk(node) if isinstance(part, ast.Constant)}
            parts = [str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values]
            yield node.lineno, "".join(parts)
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in skipped:
            yield node.lineno, node.value


def is_prose(text: str) -> bool:
    """Whether a string is a message, not a page, a pattern or a script."""
    return " " in text and not re.search(r"<\w+[ >]|</|\\d|\\w|\(\?|; |import |\n\s", text)


def in_messages() -> Iterator[Mention]:
    for path in sorted([*(ROOT / "frm_mlflow").rglob("*.py"), *(ROOT / "runners").glob("*.py")]):
        place = path.relative_to(ROOT).as_posix()
        for line, text in messages(path):
            words = text if is_prose(text) else ""
            yield from (Mention(f"{place}:{line}", m.key, m.commands) for m in mentions(place, words))
            for key in _DOTTED.findall(words):
                if key.split(".")[0] in sections():
                    yield Mention(f"{place}:{line}", key, commands_about(place, text))


@cache
def sections() -> frozenset[str]:
    """Return the first parts of dotted keys, and the names of commands and packages that are not."""
    from frm_mlflow.overrides import kinds

    real = {key.split(".")[0] for command in SETTINGS for key in kinds(command) if "." in key}
    return frozenset(real | {"analysis", "prediction", "predict", "gate", "bench", "report"})


ALL = sorted({*in_docs(), *in_help(), *in_messages()}, key=lambda each: (each.place, each.key))


def test_there_are_settings_to_check() -> None:
    assert sum(each.place.startswith("docs/") for each in ALL) > 100
    assert sum(each.place.startswith("conf/") for each in ALL) > 30
    assert sum(each.place.startswith(("frm_mlflow/", "runners/")) for each in ALL) > 60


@pytest.mark.parametrize("text", ["raise analysis.resamples", "set prediction.minimum=3", "set target.device=a100"])
def test_settings_that_do_not_exist_are_noticed(text: str) -> None:
    keys = [match["key"] for match in (*_ASSIGNED.finditer(text), *_DOTTED.finditer(text))]
    assert keys
    assert not any(is_setting(command, key) for command in SETTINGS for key in keys)


@pytest.mark.parametrize("file", sorted({each.place.split(":")[0] for each in ALL}))
def test_every_setting_in_a_text_exists(file: str) -> None:
    wrong = [
        f"{each.place}: {each.key}= is not a setting of {' or '.join(each.commands)}"
        for each in ALL
        if each.place.split(":")[0] == file and not any(is_setting(command, each.key) for command in each.commands)
    ]
    assert not wrong
