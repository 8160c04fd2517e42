"""CI covers every supported Python, and the commands in the community files exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
FORMS = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))


def steps_of(workflow: Path) -> list[dict[str, str]]:
    jobs = yaml.safe_load(workflow.read_text())["jobs"]
    return [step for job in jobs.values() for step in job["steps"]]


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.stem)
def test_every_step_of_a_workflow_can_run(workflow: Path) -> None:
    for step in steps_of(workflow):
        assert len({"uses", "run"} & set(step)) == 1, step
        commands = step.get("run", "")
        assert set(re.findall(r"^\s*make ([a-z-]+)", commands, re.M)) <= TARGETS
        for path in re.findall(r"\b(tests/\S+|\.ci/\S+)", commands):
            assert (ROOT / path).exists(), path


def test_ci_runs_on_every_supported_python_with_oldest_and_newest_dependencies() -> None:
    matrix = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())["jobs"]["unit"]["strategy"]["matrix"]
    project = (ROOT / "pyproject.toml").read_text()
    assert matrix["python"] == re.findall(r"Programming Language :: Python :: (3\.\d+)", project)
    assert "newest" in matrix["dependencies"]
    assert matrix["include"] == [{"python": matrix["python"][0], "dependencies": "oldest"}]
    used = "".join(step.get("if", "") for step in steps_of(ROOT / ".github/workflows/ci.yml"))
    assert {"pinned", "newest", "oldest"} <= set(re.findall(r"'(\w+)'", used))


@pytest.mark.parametrize("form", FORMS, ids=lambda path: path.stem)
def test_issue_forms_have_the_fields_that_github_requires(form: Path) -> None:
    fields = yaml.safe_load(form.read_text())
    assert {"name", "description", "body"} <= set(fields)
    for field in fields["body"]:
        assert field["type"] in {"textarea", "input", "dropdown", "checkboxes", "markdown"}
        assert field["attributes"]["label"]
    names = [field["id"] for field in fields["body"]]
    assert len(names) == len(set(names))


def test_the_citation_has_what_the_format_requires() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert {"cff-version", "message", "title", "authors"} <= set(citation)
    assert citation["license"] in (ROOT / "pyproject.toml").read_text()


@pytest.mark.parametrize("page", ["CONTRIBUTING.md", "SECURITY.md"])
def test_links_and_commands_of_a_page_exist(page: str) -> None:
    text = (ROOT / page).read_text()
    assert set(re.findall(r"^make ([a-z-]+)", text, re.M)) <= TARGETS
    for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text):
        assert (ROOT / link).exists(), link
