import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from frm_mlflow import cli
from frm_mlflow.errors import ConfigError
from frm_mlflow.runners import completion


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.dispatch(["--help"]) == 0
    shown = capsys.readouterr().out
    assert all(f"  {name} " in shown for name in (*cli.WITH_SETTINGS, *cli.WITH_OPTIONS))


def test_every_command_is_one_file() -> None:
    from importlib import resources

    files = {path.name for path in resources.files("frm_mlflow.runners").iterdir() if path.name[0] not in "_."}
    assert files == {f"{name.replace('-', '_')}.py" for name in (*cli.WITH_SETTINGS, *cli.WITH_OPTIONS)}


@pytest.mark.parametrize(
    ("typed", "expected"), [("benhc", "Did you mean 'bench'?"), ("xyz", "`frm-mlflow --help` lists the commands")]
)
def test_unknown_command_gets_near_names(typed: str, expected: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(expected)):
        cli.dispatch([typed])


def run(words: Sequence[str], monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(sys, "argv", ["frm-mlflow", *words])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return ended.value.code or 0


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["benhc"], "there is no command 'benhc'. Did you mean 'bench'?"),
        (["bench", "modle=resnet18"], "bench has no setting 'modle'. Did you mean 'model'"),
        (["bench", "+modle=resnet18"], "bench has no setting 'modle'. Did you mean 'model'"),
        (["recommend", "max_latency=3"], "recommend has no setting 'max_latency'. Did you mean 'max_latency_ms'"),
        (["bench", "model=resnt18"], "there is no model 'resnt18'. Did you mean 'resnet18'"),
        (["bench", "device=rtx4090"], "there is no device 'rtx4090'. Did you mean 'rtx_4090'"),
        (["bench", "runtime=onx"], "there is no runtime 'onx'. Did you mean 'onnxruntime'?"),
        (["bench", "model=[a,b]"], "model takes one name, got '[a,b]'"),
        (["bench", "model={a: 1}"], "model takes one name, got '{a: 1}'"),
        (["bench", "model=null"], "there is no model 'null'"),
        (["bench", "device=true"], "there is no device 'true'"),
        (["bench", "--device"], "--device needs a value: --device=VALUE"),
        (["bench", "--cfg", "job", "-m"], "--cfg and --multirun exclude each other"),
        (["bench", "--resolve"], "--resolve goes with --cfg job"),
        (["bench", "--devise"], "bench has no setting 'devise'. Did you mean 'device'"),
        (["bench", "resnet18"], "'resnet18' has no key: write model=resnet18"),
        (["bench", "=1"], "'=1' is not a setting: write key=value"),
        (["bench", "a..b=1"], "'a..b=1' is not a setting: write key=value"),
        (["bench", f"models={'[' * 5000}"], "models: brackets are nested more than 20 deep"),
        (["bench", f"measure.runs={'[' * 50}1{']' * 50}"], "measure.runs: brackets are nested more than 20 deep"),
    ],
)
def test_wrong_command_line_ends_with_one_sentence(
    words: list[str], sentence: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(words, monkeypatch) == 2
    shown = capsys.readouterr().err
    assert sentence in shown
    assert shown.startswith("frm-mlflow: ")
    assert shown.count("\n") == 1
    assert "http" not in shown
    assert "use +" not in shown


def test_core_without_an_extra_names_it(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def without_torch(arguments: Sequence[str]) -> int:
        raise ModuleNotFoundError("No module named 'torch'", name="torch")

    monkeypatch.setattr(cli, "dispatch", without_torch)

    assert run(["bench"], monkeypatch) == 2
    assert "install 'frm-mlflow[bench]'" in capsys.readouterr().err


@pytest.mark.parametrize("encoding", ["ascii", "iso-8859-1"])
def test_output_substitutes_what_the_terminal_cannot_show(encoding: str) -> None:
    code = "import sys; from frm_mlflow import cli; cli.dispatch = lambda a: print('✓ 模型.onnx') or 0; cli.main()"
    environment = {**os.environ, "PYTHONIOENCODING": encoding}

    shown = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True)

    assert shown.returncode == 0, shown.stderr
    assert shown.stdout.decode(encoding) == "? ??.onnx\n"


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        (["be"], {"bench"}),
        (["bench", "measure=q"], {"measure=quick"}),
        (["bench", "device=cpu", "model=mnas"], {"model=mnasnet1_0"}),
        (["cache", "pr"], {"prune"}),
        (["doctor", "--js"], {"--json"}),
    ],
)
def test_bash_completes(typed: list[str], expected: set[str]) -> None:
    probe = f'''{completion.script("bash")}
COMP_WORDS=(frm-mlflow {" ".join(typed)}); COMP_CWORD={len(typed)}
_frm_mlflow_completion frm-mlflow "{typed[-1]}" ""; echo "${{COMPREPLY[@]}}"'''
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"

    result = subprocess.run(
        ["bash", "-c", probe], env={**os.environ, "PATH": path}, capture_output=True, text=True, check=True
    )

    assert set(result.stdout.split()) == expected, result.stderr


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_script_names_the_program(shell: str) -> None:
    assert "_FRM_MLFLOW_COMPLETE" in completion.script(shell)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["completion", "csh"], "'csh' is not one of 'bash', 'zsh', 'fish'"),
        (["doctor", "--jsno"], "there is no option --jsno. Did you mean '--json'"),
        (["device", "probe"], "Missing argument 'SETTINGS...'"),
    ],
)
def test_wrong_option_ends_with_one_sentence(
    words: list[str], sentence: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(words, monkeypatch) == 2
    assert sentence in capsys.readouterr().err


def test_help_imports_neither_mlflow_nor_pandas() -> None:
    code = "import sys; from frm_mlflow import cli; cli.dispatch(['--help']); print(sorted(set(sys.modules) & HEAVY))"
    code = code.replace("HEAVY", "{'torch', 'mlflow', 'pandas', 'hydra'}")
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.splitlines()[-1] == "[]"


def test_importing_the_package_is_cheap() -> None:
    code = "import frm_mlflow, sys; print(sorted(set(sys.modules) & {'torch', 'mlflow', 'pandas', 'hydra'}))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
