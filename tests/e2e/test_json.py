"""With `--json`, every command prints JSON to stdout and nothing else, so that machines can read it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from frm_mlflow import cli
from frm_mlflow.sweep.compose import composed
from tests.browser.fleet import log_fleet

ELSEWHERE = {
    "attach": "tests/integrations/test_attach.py",
    "device": "tests/fleet/test_device_command.py",
    "fleet": "tests/fleet/test_ray_fleet.py",
}
"""Commands whose JSON is tested elsewhere, where their model or their device is available."""
QUICK = ["options.resamples=100", "options.shuffles=10"]
COMMANDS: dict[str, tuple[list[str], set[str]]] = {
    "bench": (
        ["model=squeezenet1_1", "baseline=squeezenet1_1", "runtime=torch", "device=cpu", "measure=quick"],
        {"benchmarks", "run_id"},
    ),
    "ingest": (
        ["source=csv", "path={folder}/mine.csv", "source.given={{device: pi5, tier: edge}}", "dry_run=true"],
        {"records", "left_out"},
    ),
    "analyze": (["analysis=[frm,cost]", *QUICK], {"run_id", "results", "refused"}),
    "report": (["output={folder}/report.html", *QUICK], {"output", "run_id"}),
    "predict": (["target=Raspberry Pi"], {"summary", "tables"}),
    "recommend": (["target=Raspberry Pi", "max_latency_ms=1000"], {"summary", "tables"}),
    "plan": (["target=Raspberry Pi", "budget=2"], {"summary", "tables"}),
    "gate": (
        ["candidate=mobilenet_v2", "device=cpu", "max_latency_ms=1e6", "numbers=measured", "measure=quick"],
        {"verdict", "checks"},
    ),
    "doctor": (["--json"], set()),
    "resend": (["--json"], {"sent", "left"}),
    "cache": (["--json"], set()),
    "completion": (["bash", "--json"], {"script"}),
    "link-env": (["--project", "{project}", "--json"], {"environment", "link"}),
}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("json")
    log_fleet(f"sqlite:///{folder}/mlflow.db")
    (folder / "mine.csv").write_text("model,latency_ms\nresnet50,20\nmobilenet_v2,5\n")
    return folder


def test_every_command_is_asked() -> None:
    assert {*COMMANDS, *ELSEWHERE} == {*cli.WITH_SETTINGS, *cli.WITH_OPTIONS}


@pytest.mark.parametrize("name", sorted(cli.WITH_SETTINGS))
def test_every_runner_has_the_setting(name: str) -> None:
    assert composed(name).json is False


@pytest.mark.parametrize("name", COMMANDS)
def test_stdout_holds_json_alone(
    store: Path, name: str, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments, keys = COMMANDS[name]
    folder = store / name
    folder.mkdir(exist_ok=True)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{store}/mlflow.db")
    monkeypatch.setenv("XDG_DATA_HOME", str(store / "data"))
    given = [each.format(folder=store, project=Path(__file__).resolve().parents[2]) for each in arguments]
    if name in cli.WITH_SETTINGS:
        given.append("--json")
    assert cli.dispatch([name, *given]) == 0
    shown = capfd.readouterr()
    answer = json.loads(shown.out)
    assert not keys - set(answer if isinstance(answer, dict) else ())
    # Not a terminal: no progress bars and no colours.
    assert "\x1b[" not in shown.err
