import subprocess
import sys

import pytest

from frm_mlflow import cli, completion
from frm_mlflow.errors import ConfigError


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["device=cpu"], ["device=cpu"]),
        (["--measure.runs", "200"], ["measure.runs=200"]),
        (["--measure.runs=200"], ["measure.runs=200"]),
        (["--json"], ["json=true"]),
        (["--json", "device=cpu"], ["json=true", "device=cpu"]),
        (["-m", "model=a,b"], ["-m", "model=a,b"]),
        (["device=cpu", "-m", "model=a,b", "x=1"], ["-m", "device=cpu", "model=a,b", "x=1"]),
        (["filter=tags.`frm.tier` = 'edge'"], ["filter=\"tags.`frm.tier` = 'edge'\""]),
        (["filter="], ['filter=""']),
        (["--cfg", "job"], ["--cfg", "job"]),
        (["--help"], ["--help"]),
        (["-sc", "query=bash"], ["-sc", "query=bash"]),
        (["--model.path", "a file.onnx"], ["model.path=a file.onnx"]),
    ],
)
def test_options_become_overrides_and_hydras_own_stay(given: list[str], expected: list[str]) -> None:
    assert cli.overrides_of(given) == expected


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.dispatch(["--help"]) == 0
    shown = capsys.readouterr().out
    assert all(f"  {name} " in shown for name in (*cli.RUNNERS, *cli.COMMANDS))


def test_every_runner_of_the_list_is_a_file_and_the_other_way_round() -> None:
    from importlib import resources

    files = {
        p.name.removesuffix(".py") for p in resources.files("frm_mlflow.runners").iterdir() if p.name.endswith(".py")
    }
    assert files - {"__init__"} == set(cli.RUNNERS)


def test_unknown_command_exits_with_2_and_says_where_to_look(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.dispatch(["benchmark"]) == 2
    assert "--help" in capsys.readouterr().err


def test_bash_completes_commands() -> None:
    text = completion.script("bash", commands=("bench", "doctor", "report"))
    typed = 'COMP_WORDS=(frm-mlflow be); COMP_CWORD=1; COMP_LINE="frm-mlflow be"'
    probe = f'{text}\n{typed}; _frm_mlflow_complete; echo "${{COMPREPLY[@]}}"'
    result = subprocess.run(["bash", "-c", probe], capture_output=True, text=True, check=True)
    assert result.stdout.split() == ["bench"]


def test_another_shell_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="bash, zsh or fish"):
        completion.script("csh", commands=())


def test_importing_the_package_is_cheap() -> None:
    code = "import frm_mlflow, sys; print(sorted(set(sys.modules) & {'torch', 'mlflow', 'pandas', 'hydra'}))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
