"""The gate's how-to page: its GitHub Actions workflow is valid, and each command and setting is accepted."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import yaml
from hydra import compose, initialize_config_module

from frm_mlflow.config import GateConfig, checked

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "gate.md").read_text()
(WORKFLOW,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
STEPS = yaml.safe_load(WORKFLOW)["jobs"]["gate"]["steps"]
SETTINGS = [row.split("`")[1] for row in PAGE.splitlines() if row.startswith("| ") and "`" in row]


def gate_config(words: list[str]) -> GateConfig:
    own = [re.sub("^model=", "candidate=", word) for word in words]
    with initialize_config_module("frm_mlflow.conf", version_base="1.3"):
        return checked(GateConfig, compose("gate", own), where="gate")


def test_the_workflow_has_what_github_needs():
    workflow = yaml.safe_load(WORKFLOW)
    assert workflow[True] == "pull_request"  # YAML 1.1 reads the key `on` as true
    job = workflow["jobs"]["gate"]
    assert job["runs-on"]
    for step in STEPS:
        assert len({"uses", "run"} & set(step)) == 1
        assert set(step) <= {"name", "uses", "run", "with", "if", "env", "id"}
    assert all(re.fullmatch(r"\$\{\{ secrets\.\w+ \}\}", value) for value in job["env"].values())
    assert {"MLFLOW_TRACKING_URI", "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"} == set(job["env"])


def test_the_workflows_command_is_accepted_and_its_files_are_kept():
    (command,) = (step["run"] for step in STEPS if step.get("run", "").startswith("frm-mlflow gate"))
    asked = gate_config(shlex.split(command)[2:])
    assert asked.largest_ratio == pytest.approx(1.05)
    (kept,) = (step["with"]["path"] for step in STEPS if "upload-artifact" in step.get("uses", ""))
    assert all(Path(str(name)).match(kept) for name in (asked.junit, asked.markdown))


@pytest.mark.parametrize("settings", SETTINGS)
def test_each_setting_of_the_table_is_accepted(settings: str):
    words = ["model=models:/digits@candidate", *settings.split()]
    if "max_" not in settings:
        words += ["max_latency_ms=5"]
    assert gate_config(words).candidate == "models:/digits@candidate"
