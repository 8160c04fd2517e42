"""Converts the words of a command line to overrides that Hydra's grammar accepts.

A path or a name is used as the shell passes it, whatever characters it contains. It is quoted here by the type that
the settings declare for the key. Lists, dictionaries, sweeps, interpolations and quotes meant for Hydra still work.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from enum import Enum
from functools import cache
from importlib import import_module, resources
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException

from frm_mlflow.errors import ConfigError
from frm_mlflow.near import did_you_mean

SETTINGS: Mapping[str, str] = {
    "bench": "frm_mlflow.config:BenchConfig",
    "attach": "frm_mlflow.config:AttachConfig",
    "gate": "frm_mlflow.config:GateConfig",
    "ingest": "frm_mlflow.config:IngestConfig",
    "analyze": "frm_mlflow.runners.analyze:AnalyzeConfig",
    "report": "frm_mlflow.runners.report:ReportConfig",
    "predict": "frm_mlflow.runners.predict:PredictConfig",
    "recommend": "frm_mlflow.runners.recommend:RecommendConfig",
    "plan": "frm_mlflow.runners.plan:PlanConfig",
}
"""The class that declares each command's settings."""
OTHER_NAMES: Mapping[str, Mapping[str, str]] = {"gate": {"model": "candidate"}}
"""Keys that a command accepts under another name."""
DEEPEST = 20
"""Maximum nesting depth of brackets in a value."""

TAKE_A_VALUE = frozenset(
    "--cfg -c --package -p --config-path -cp --config-name -cn --config-dir -cd --info -i".split()  # noqa: SIM905
)
"""Hydra's options that are followed by a value."""
HYDRAS_OWN = TAKE_A_VALUE | {"--help", "--hydra-help", "--version", "--resolve", "--run", "--multirun"}
ALONE = {"--run": "--run", "-r": "--run", "--multirun": "--multirun", "-m": "--multirun"}
ALONE |= {"--cfg": "--cfg", "-c": "--cfg", "--info": "--info", "-i": "--info"}
"""Mutually exclusive options of Hydra, by their possible spellings."""
COMPLETION = ("--shell-completion", "-sc")

_KEY = re.compile(
    r"(?P<prefix>\+\+|\+|~)?(?P<key>[A-Za-z_][\w./-]*(?:@[\w.:]*)?)(?P<equals>=)?(?P<value>.*)", re.DOTALL
)
_OPTION = re.compile(r"--(?P<key>[A-Za-z_][\w./@-]*)(=(?P<value>.*))?", re.DOTALL)


class Kind(Enum):
    """Type of a key's value."""

    GROUP = "a name of a group"
    TEXT = "text"
    TEXTS = "a list of texts"
    FLAG = "true or false"
    TABLE = "a dictionary"
    OTHER = "a number, or anything else"


@dataclass(frozen=True)
class Word:
    """One override as typed: `+model.kwargs.width=3`."""

    prefix: str
    key: str
    value: str | None

    def __str__(self) -> str:
        """Return the override."""
        return self.prefix + self.key + ("" if self.value is None else f"={self.value}")


def overrides_of(command: str, arguments: Sequence[str]) -> list[str]:
    """Return a command's arguments in Hydra's form: its options first, then overrides that its grammar accepts.

    `--key value`, `--key=value` and `--flag` mean `key=value` and `flag=true`, because `mlflow run` passes parameters
    that way.

    Raises
    ------
    ConfigError
        If a word sets nothing, the command does not have a key, or a value is not valid for the type of
        its setting.
    """
    if any(word in COMPLETION for word in arguments):
        return list(arguments)
    options, words = _sorted_out(command, arguments)
    _refuse_together(options)
    multirun = any(word in ("-m", "--multirun") for word in options)
    return [*options, *(_prepared(command, word, multirun=multirun) for word in words)]


def prepared(command: str, words: Sequence[str]) -> list[str]:
    """Return `key=value` words as overrides that Hydra's grammar accepts, by the settings of `command`."""
    return [_prepared(command, word, multirun=False) for word in words]


def _sorted_out(command: str, arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return Hydra's options with their values, and all other arguments as `key=value` words."""
    options: list[str] = []
    words: list[str] = []
    rest = list(arguments)
    while rest:
        word = rest.pop(0)
        option = _OPTION.fullmatch(word)
        if word.split("=")[0] in HYDRAS_OWN or (option is None and word.startswith("-")):
            options.append(word)
            options += [rest.pop(0)] if word in TAKE_A_VALUE and rest else []
        elif option is None:
            words.append(word)
        elif option["value"] is not None:
            words.append(word[2:])
        else:
            words.append(f"{option['key']}={_option_value(command, option['key'], rest)}")
    return options, words


def _refuse_together(options: Sequence[str]) -> None:
    names = {option.split("=")[0] for option in options}
    alone = sorted({ALONE[name] for name in names & ALONE.keys()})
    if len(alone) > 1:
        raise ConfigError(f"{' and '.join(alone)} exclude each other: give one of them")
    if "--resolve" in names and not names & {"--cfg", "-c", "--help", "-h"}:
        raise ConfigError("--resolve goes with --cfg job: it prints the settings with their references resolved")


def _option_value(command: str, key: str, rest: list[str]) -> str:
    """Return the value of `--key`, removed from the remaining words; a flag needs none."""
    kind = kinds(command).get(key)
    if kind is Kind.FLAG:
        return rest.pop(0) if rest and rest[0].lower() in ("true", "false") else "true"
    if rest and not re.match(r"--?[A-Za-z]", rest[0]):
        return rest.pop(0)
    _refuse_unknown(command, key)
    raise ConfigError(f"--{key} needs a value: --{key}=VALUE")


@cache
def kinds(command: str) -> Mapping[str, Kind]:
    """Return the kind of each setting of a command by its key (`measure.runs`)."""
    module, _, name = SETTINGS[command].partition(":")
    kinds_by_key = dict(_kinds(getattr(import_module(module), name), ""))
    return kinds_by_key | {other: kinds_by_key[key] for other, key in OTHER_NAMES.get(command, {}).items()}


def _kinds(cls: type[Any], prefix: str) -> Iterator[tuple[str, Kind]]:
    types = get_type_hints(cls)
    for item in fields(cls):
        key, declared = prefix + item.name, types[item.name]
        if is_dataclass(declared):
            yield key, Kind.GROUP if key in groups() else Kind.OTHER
            yield from _kinds(declared, f"{key}.")  # type: ignore[arg-type]
        else:
            yield key, _kind(declared)


def _kind(declared: Any) -> Kind:
    if get_origin(declared) in (Union, UnionType):
        (declared, *_) = [part for part in get_args(declared) if part is not type(None)]
    if declared is str:
        return Kind.TEXT
    if declared is bool:
        return Kind.FLAG
    if get_origin(declared) is list and get_args(declared) == (str,):
        return Kind.TEXTS
    return Kind.TABLE if get_origin(declared) is dict else Kind.OTHER


@cache
def groups() -> frozenset[str]:
    """Return the names of the configuration groups: the folders of `conf/`."""
    return frozenset(folder.name for folder in resources.files("frm_mlflow.conf").iterdir() if folder.is_dir())


def split(word: str) -> Word:
    """Return the parts of an override.

    Raises
    ------
    ConfigError
        If the word has no key.
    """
    match = _KEY.fullmatch(word)
    if match is None or (match["equals"] is None and match["value"]) or re.search(r"\.\.|\.$|\.=|//|/$", match["key"]):
        raise ConfigError(f"'{_short(word)}' is not a setting: write key=value, for example device=cpu")
    return Word(match["prefix"] or "", match["key"], match["value"] if match["equals"] else None)


def _prepared(command: str, text: str, *, multirun: bool) -> str:
    word = split(text)
    key = OTHER_NAMES.get(command, {}).get(word.key, word.key)
    if word.value is None and word.prefix != "~":
        raise ConfigError(_without_value(command, text))
    if _is_of_hydra(key):
        prefix, kind = word.prefix, Kind.GROUP if "/" in key or "." not in key else Kind.OTHER
    else:
        _refuse_unknown(command, key)
        prefix, kind = _prefix(word, kinds(command), key), kinds(command).get(key, Kind.OTHER)
    given = _device_settings(word.value) if key == "device" and word.value else word.value
    value = None if given is None else _value(key, given, kind, multirun=multirun)
    return str(Word(prefix, key, value))


def _device_settings(value: str) -> str:
    """Return the name of a device's settings for its usual name: `RTX 6000 Ada` → `rtx_6000_ada`."""
    if re.fullmatch(r"[a-z0-9_,]+", value):
        return value
    from frm_mlflow.devices.resolve import settings_name  # imported here: most command lines name the settings

    return settings_name(value)


def _is_of_hydra(key: str) -> bool:
    return re.split(r"[./]", key)[0] == "hydra"


def _prefix(word: Word, keys: Mapping[str, Kind], key: str) -> str:
    """Return the prefix that Hydra needs for the word: dictionary entries are added, everything else is replaced."""
    if word.prefix == "~":
        return "~"
    return "" if key in keys else "++"


def _refuse_unknown(command: str, key: str) -> None:
    keys = kinds(command)
    if key in keys or _is_entry(key, keys):
        return
    inside, _, last = key.rpartition(".")
    siblings = [name for name in keys if name.rpartition(".")[0] == inside]
    options = [option[2:] for option in HYDRAS_OWN if option.startswith("--")]
    near = did_you_mean(key, [*keys, *options]) or did_you_mean(last, siblings)
    raise ConfigError(
        f"{command} has no setting '{_short(key)}'.{near or f' `frm-mlflow {command} --help` lists the settings.'}"
    )


def _is_entry(key: str, keys: Mapping[str, Kind]) -> bool:
    """Return whether a key is an entry of a dictionary with free keys, such as `tracking.tags.team`."""
    parents = [key[: match.start()] for match in re.finditer(r"\.", key)]
    return any(keys.get(parent) is Kind.TABLE for parent in parents)


def _without_value(command: str, text: str) -> str:
    for group in sorted(groups() & kinds(command).keys()):
        if text in options_of(group):
            return f"'{text}' has no key: write {group}={text}"
    near = did_you_mean(text, kinds(command))
    return f"'{_short(text)}' has no value: write key=value, for example device=cpu.{near}"


def options_of(group: str) -> list[str]:
    """Return the names in a configuration group."""
    files = resources.files("frm_mlflow.conf").joinpath(group).iterdir()
    return sorted(file.name.removesuffix(".yaml") for file in files if file.name.endswith(".yaml"))


def _value(key: str, value: str, kind: Kind, *, multirun: bool) -> str:
    quote = {Kind.TEXT: _text, Kind.GROUP: _group, Kind.TEXTS: _texts}.get(kind, _other)
    if value.strip() in ("", "null") and kind is not Kind.GROUP:
        return value
    if kind is not Kind.TEXT and _depth(value) > DEEPEST:
        raise ConfigError(f"{key}: brackets are nested more than {DEEPEST} deep in '{_short(value)}'")
    if multirun and (swept := _swept(value, quote, key)) is not None:
        return swept
    return quote(key, value)


def _swept(value: str, quote: Callable[[str, str], str], key: str) -> str | None:
    """Return the value of a sweep with its choices quoted one by one; None if it is not a sweep."""
    override = parsed(value)
    if override is not None and override.is_sweep_override() and re.match(r"\s*\w+\(", value):
        return value  # choice(...), range(...), glob(...)
    return _choices(value, quote, key)


def _choices(value: str, quote: Callable[[str, str], str], key: str) -> str | None:
    parts = _parts(value)
    return ",".join(quote(key, part) for part in parts) if len(parts) > 1 else None


def _text(key: str, value: str) -> str:  # noqa: ARG001  (all that quote a value take its key)
    return value if value == "null" or _is_hydras(value) else quoted(value)


def _group(key: str, value: str) -> str:
    if re.fullmatch(r"\s*[\[{].*", value, re.DOTALL) or len(_parts(value)) > 1:
        raise ConfigError(
            f"{key} takes one name, got '{_short(value)}'. To run several, use -m {key}=A,B"
            + (f" or {key}s=[A,B]" if key in ("model", "runtime", "precision") else "")
        )
    return value if _is_hydras(value) else quoted(value)


def _texts(key: str, value: str) -> str:
    inner = value.strip()
    if inner.startswith("${"):
        return inner
    if inner.startswith("[") and inner.endswith("]"):
        inner = inner[1:-1]
    items = [part.strip() for part in _parts(inner)]
    return f"[{','.join(_text(key, item) for item in items if item)}]"


def _other(key: str, value: str) -> str:
    override = parsed(value)
    if override is None or override.is_sweep_override():
        return _pairs(key, value) or quoted(value)
    return value


def _pairs(key: str, value: str) -> str | None:
    """Return a dictionary or list with the items quoted that violate the grammar; None if it is neither."""
    inner, ends = value.strip()[1:-1], (value.strip()[:1], value.strip()[-1:])
    if ends == ("[", "]"):
        return f"[{','.join(_other(key, part.strip()) for part in _parts(inner))}]"
    if ends != ("{", "}"):
        return None
    items = [part.partition(":") for part in _parts(inner)]
    if not all(colon and name.strip() for name, colon, _ in items):
        return None
    return "{" + ",".join(f"{name.strip()}:{_other(key, item.strip())}" for name, _, item in items) + "}"


def _is_hydras(value: str) -> bool:
    """Return whether Hydra can read a text unchanged: plain text, text quoted for Hydra, or an interpolation."""
    override = parsed(value)
    if override is None or override.is_sweep_override():
        return False
    read = override.value()
    return isinstance(read, str) and (read == value or value.strip()[:1] in ("'", '"') or "${" in value)


def parsed(value: str) -> Override | None:
    """Return a value as parsed by Hydra; None if its grammar does not allow it."""
    if _depth(value) > DEEPEST:
        return None
    try:
        return OverridesParser.create().parse_override(f"key={value}")
    except HydraException:
        return None


def _parts(value: str) -> list[str]:
    """Split a value at its commas, ignoring commas inside brackets and quotes."""
    parts, depth, within = [""], 0, ""
    for before, letter in zip(" " + value, value, strict=False):
        if within:
            within = "" if letter == within and before != "\\" else within
        elif letter in "'\"" and not parts[-1].strip():
            within = letter
        elif letter in "[{(":
            depth += 1
        elif letter in "]})":
            depth -= 1
        if letter == "," and depth == 0 and not within:
            parts.append("")
        else:
            parts[-1] += letter
    return parts


def _depth(value: str) -> int:
    depth = deepest = 0
    for letter in value:
        depth += (letter in "[{(") - (letter in "]})")
        deepest = max(deepest, depth)
    return deepest


def quoted(text: str) -> str:
    """Return `text` quoted as the value of an override, whatever characters it contains.

    Hydra reads backslashes literally, except those before a quote.
    """
    escaped = re.sub(r"(\\*)'", r"\1\1\\'", text)
    return "'" + re.sub(r"(\\+)$", r"\1\1", escaped) + "'"


def _short(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:57]}..."
