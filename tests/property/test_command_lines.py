"""Generated command lines: each exits with code 0, or with code 2 and a sentence, never with a traceback.

Each goes through all steps of a command: `cli.main`, Hydra's parser and composition, the check of the settings. Only
the command's actual work is skipped.
"""

from __future__ import annotations

import contextlib
import io
import sys
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from frm_mlflow import cli
from frm_mlflow.config import checked
from frm_mlflow.errors import ConfigError
from frm_mlflow.overrides import SETTINGS, groups, kinds, options_of, overrides_of

DOORS = {command: f"frm_mlflow.runners.{command}:{command}" for command in SETTINGS}
"""The function to which each command passes its configuration."""
COMMANDS = {*cli.WITH_SETTINGS, *cli.WITH_OPTIONS}
HYDRAS = ("--help", "--cfg", "--cfg=job", "--package", "--resolve", "--version", "--info", "-c", "-p", "-x", "--", "-")
VALUES = (
    *("null", "true", "false", "0", "-1", "1e309", "nan", "inf", "-inf", "1e3", "3,5", "5%", "0x10", "1_000", "١٢"),
    *("[]", "{}", "[1,2]", "[[1]]", "[a,", "{a:1}", "{a:", "{a:{b:[1]}}", "[" * 400, "]" * 9, "{" * 400, "(" * 400),
    *("[" * 30 + "]" * 30, "{a:" * 30 + "1" + "}" * 30, "[" * 2000 + "1" + "]" * 2000),
    *(
        "${x}",
        "${",
        "${oc.env:NO_SUCH}",
        "${measure.runs}",
        "${tracking}",
        "${a:${b}}",
        "$HOME",
        "???",
        "${oc.decode:}",
    ),
    *("a=b", "a b", " ", "", "'", '"', "'a'", '"a"', "'a", "\\", "\\'", "a,b", "a,", ",", "choice(a,b)", "range(1,3)"),
    *(
        "glob(*)",
        "sort(1,2)",
        "int(x)",
        "shuffle(",
        "results (1).csv",
        "epoch=9.onnx",
        "{stem}",
        "模型.onnx",
        "🙂",
        "\x00",
    ),
    *(
        "\n",
        "../x",
        "/etc/passwd",
        "~",
        "models:/net (v2)/1",
        "%s%n",
        "x" * 5000,
        "-",
        "--",
        "#",
        "a: b",
        "\ud800",
        "\u202e",
    ),
)


def words(command: str) -> st.SearchStrategy[str]:
    """Return a strategy for the words of a command line: correct ones, misspelt ones, and noise."""
    known = sorted(kinds(command))
    keys = st.one_of(
        st.sampled_from(known),
        st.sampled_from(known).flatmap(
            lambda key: st.sampled_from([key[1:], key + "x", key.upper(), key + ".x", key + "."])
        ),
        st.sampled_from(
            ["hydra", "hydra.run.dir", "hydra/launcher", "hydra.mode", "x", "", ".", "a..b", "@", "model@x", "/"]
        ),
        st.text(max_size=8),
    )
    names = [name for group in sorted(groups() & set(known)) for name in options_of(group)] or ["frm"]
    values = st.one_of(st.sampled_from(VALUES), st.sampled_from(names), st.text(max_size=30), st.integers().map(str))
    prefix = st.sampled_from(["", "", "", "", "--", "+", "++", "~", "-"])
    equals = st.sampled_from(["=", "=", "=", "=", "", "==", " "])
    return st.one_of(
        st.builds("{}{}{}{}".format, prefix, keys, equals, values),
        st.builds("--{}".format, keys),
        st.sampled_from(HYDRAS),
        values,
    )


COMMAND_LINES = st.sampled_from(sorted(SETTINGS)).flatmap(
    lambda command: st.tuples(st.just(command), st.lists(words(command), max_size=4))
)


@pytest.fixture(scope="module", autouse=True)
def commands_that_only_check() -> Iterator[None]:
    """Make each command only check its settings."""
    with pytest.MonkeyPatch.context() as patch:
        for command, door in DOORS.items():
            module, _, name = door.partition(":")
            patch.setattr(f"{module}.{name}", _checks(command))
        yield


def _checks(command: str) -> Callable[..., None]:
    module, _, name = SETTINGS[command].partition(":")
    declared = getattr(import_module(module), name)

    def check(config: object, **_: object) -> None:
        checked(declared, config, where=command)

    return check


def outcome(arguments: Sequence[str]) -> tuple[object, str]:
    """Run a command line in this process; return its exit code and what it writes to stderr."""
    shown = io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["frm-mlflow", *arguments])
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(shown):
            try:
                cli.main()
            except SystemExit as ended:
                return ended.code or 0, shown.getvalue()
    raise AssertionError("cli.main returned instead of exiting")


def ends_well(arguments: Sequence[str]) -> None:
    code, shown = outcome(arguments)
    if "not found in config" in shown:  # Hydra's own end of `--package`
        return
    assert code in (0, 2), f"{arguments}: exit code {code}: {shown[-500:]}"
    assert "Traceback" not in shown
    assert "hydra.cc" not in shown
    assert "use +" not in shown
    assert code == 0 or shown.strip(), f"{arguments}: exit code 2 without a sentence"


CALM = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow, HealthCheck.data_too_large]}


@settings(max_examples=100, **CALM)
@given(COMMAND_LINES)
def test_any_command_line_ends_with_a_sentence(line: tuple[str, list[str]]) -> None:
    command, typed = line
    ends_well([command, *typed])


@pytest.mark.slow
@pytest.mark.timeout(7200)
@settings(max_examples=4000, **CALM)
@given(COMMAND_LINES)
def test_thousands_of_command_lines_end_with_a_sentence(line: tuple[str, list[str]]) -> None:
    command, typed = line
    ends_well([command, *typed])


@settings(max_examples=100, **CALM)
@given(COMMAND_LINES)
def test_words_of_a_sweep_are_refused_or_understood(line: tuple[str, list[str]]) -> None:
    command, typed = line
    try:
        overrides = overrides_of(command, ["-m", *typed])
    except ConfigError:
        return
    if not any(word.startswith("-") for word in typed):
        OverridesParser.create().parse_overrides(overrides[1:])


@settings(max_examples=50, **CALM)
@given(
    st.lists(st.text(max_size=12).filter(lambda word: word not in {*cli.WITH_SETTINGS, *cli.WITH_OPTIONS}), min_size=1)
)
def test_any_first_word_is_a_command_or_refused(typed: list[str]) -> None:
    ends_well(typed)


@pytest.mark.parametrize("value", VALUES)
def test_each_odd_value_of_a_path_and_of_a_number(value: str) -> None:
    ends_well(["bench", f"model.path={value}", "model=onnx", "model.name=x"])
    ends_well(["bench", f"measure.runs={value}"])
