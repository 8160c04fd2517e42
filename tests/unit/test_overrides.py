"""Words from the shell become overrides that Hydra interprets as intended."""

from __future__ import annotations

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given
from hypothesis import strategies as st

from frm_mlflow.errors import ConfigError
from frm_mlflow.overrides import overrides_of, quoted
from frm_mlflow.sweep.compose import composed

NAMES = [
    "out/epoch=9-step=100.onnx",
    "results (1).csv",
    "models:/net (v2)/1",
    "{stem}",
    "模型.onnx",
    "a,b.onnx",
    "C:\\nets\\net.onnx",
    "C:\\nets (old)\\",
    "it's 'mine'.onnx",
    'say "net".onnx',
    "[draft].onnx",
    "1e3",
    "0123456789",
    "true",
    "$HOME/net.onnx",
    " padded ",
    "a: b",
    "~/net.onnx",
    "100%.onnx",
    "a\tb\nc",
]


def read(word: str) -> object:
    return OverridesParser.create().parse_override(word).value()


@pytest.mark.parametrize("name", NAMES)
def test_text_is_taken_as_the_shell_gives_it(name: str) -> None:
    for command, key in [("bench", "model.path"), ("ingest", "path"), ("report", "output"), ("gate", "candidate")]:
        (word,) = overrides_of(command, [f"{key}={name}"])
        assert read(word) == name
        (word,) = overrides_of(command, [f"--{key}", name] if not name.startswith("-") else [f"--{key}={name}"])
        assert read(word) == name


@given(st.text().filter(lambda text: "${" not in text))
def test_hydra_reads_quoted_text_back(text: str) -> None:
    assert read(f"key={quoted(text)}") == text


@given(st.text(min_size=1).filter(lambda text: "${" not in text and text.strip() not in ("", "null")))
def test_any_file_name_reaches_the_configuration(text: str) -> None:
    (word,) = overrides_of("bench", [f"model.path={text}"])
    if text[:1] in "'\"" and text[-1:] == text[:1]:
        return  # the user has already quoted it for Hydra
    assert read(word) == text


@pytest.mark.parametrize("name", NAMES)
def test_names_in_lists_and_dictionaries_keep_their_characters(name: str) -> None:
    if "," in name or name != name.strip():
        return
    (word,) = overrides_of("bench", [f"models=[resnet18,{name}]"])
    assert read(word) == ["resnet18", name]
    (word,) = overrides_of("bench", [f"tracking.tags.note={name}"])
    assert word.startswith("++tracking.tags.note=")
    assert read(word) in (name, int(name) if name.isdigit() else name, True if name == "true" else name, 1000.0)


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("models=[resnet18,levit_128s]", ["resnet18", "levit_128s"]),
        ("models=resnet18", ["resnet18"]),
        ("models=[null]", [None]),
        ("measure.runs=200", 200),
        ("model.input_shape=[1,28,28]", [1, 28, 28]),
        ("model.kwargs={width: 3, name: 'a b'}", {"width": 3, "name": "a b"}),
        ("model.kwargs={note: 3 (x)}", {"note": "3 (x)"}),
        ("model.path='a b.onnx'", "a b.onnx"),
        ('model.path="a=b.onnx"', "a=b.onnx"),
        ("model.path=null", None),
        ("model.path=${oc.env:NET}", "${oc.env:NET}"),
        ("dry_run=true", True),
        ("max_drift=0.2", 0.2),
    ],
)
def test_what_is_written_for_hydra_still_works(word: str, value: object) -> None:
    (override,) = overrides_of("bench", [word])
    assert read(override) == value


@pytest.mark.parametrize(
    ("word", "choices"),
    [
        ("model=resnet18,levit_128s", ["resnet18", "levit_128s"]),
        ("batch_size=1,8", ["1", "8"]),
        ("model.path=epoch=1.onnx,epoch=2 (b).onnx", ["'epoch=1.onnx'", "'epoch=2 (b).onnx'"]),
        ("batch_size=choice(1,8)", ["1", "8"]),
        ("batch_size=range(1,4)", ["1", "2", "3"]),
        ("models=[resnet18],[levit_128s]", ["[resnet18]", "[levit_128s]"]),
    ],
)
def test_sweeps_still_work(word: str, choices: list[str]) -> None:
    option, override = overrides_of("bench", ["-m", word])
    assert option == "-m"
    assert list(OverridesParser.create().parse_override(override).sweep_string_iterator()) == choices


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["--measure.runs", "200"], ["measure.runs=200"]),
        (["--measure.runs=200"], ["measure.runs=200"]),
        (["--max_drift", "-1"], ["max_drift=-1"]),
        (["--json"], ["json=true"]),
        (["--json", "device=cpu"], ["json=true", "device=cpu"]),
        (["--json", "false", "device=cpu"], ["json=false", "device=cpu"]),
        (["device=cpu", "-m", "model=a,b", "batch_size=1"], ["-m", "device=cpu", "model=a,b", "batch_size=1"]),
        (["--cfg", "job"], ["--cfg", "job"]),
        (["--help"], ["--help"]),
        (["-sc", "query=bash"], ["-sc", "query=bash"]),
        (["+model.kwargs.width=3"], ["++model.kwargs.width=3"]),
        (["model.kwargs.width=3"], ["++model.kwargs.width=3"]),
        (["hydra/launcher=frm_ray"], ["hydra/launcher=frm_ray"]),
    ],
)
def test_options_become_overrides(given: list[str], expected: list[str]) -> None:
    assert overrides_of("bench", given) == expected


def test_gate_takes_any_model_uri() -> None:
    (word,) = overrides_of("gate", ["model=models:/net (v2)/1"])
    assert composed("gate", [word]).candidate == "models:/net (v2)/1"


@pytest.mark.parametrize("word", ["json", "resnet", "runs=3", "measure.rusn=1", "@=1", "model@x=resnet18", "~nothing"])
def test_words_that_set_nothing_are_refused(word: str) -> None:
    with pytest.raises(ConfigError, match=r"has no setting|has no value|is not a setting"):
        overrides_of("bench", [word])
