"""The registry agrees with the files, the settings and the packaging that belong to each runtime."""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

from frm_mlflow.export import precisions
from frm_mlflow.worker.runtimes import DEFAULT, OTHER_BUILDS, RUNTIMES, extra_of, installed_version, runtimes_of

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[3]
PACKAGE = ROOT / "frm_mlflow"


def installed_by(extra: str) -> set[str]:
    """Return the distributions that an extra in pyproject.toml installs, including extras that it refers to."""
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"][extra]
    requirements = [Requirement(line) for line in declared]
    nested = [name for one in requirements if one.name == "frm-mlflow" for name in one.extras]
    return {one.name for one in requirements}.union(*map(installed_by, nested))


def test_runtimes_and_their_conf_files_correspond():
    names = {path.stem: yaml.safe_load(path.read_text())["name"] for path in (ROOT / "conf/runtime").glob("*.yaml")}
    assert names == {name: name for name in (*RUNTIMES, "auto")}


def test_every_precision_is_a_conf_file_and_used():
    used = {name for runtime in RUNTIMES for unit in ("cpu", "gpu") for name in precisions(runtime, compute_unit=unit)}
    assert used == {path.stem for path in (ROOT / "conf" / "precision").glob("*.yaml")}


@pytest.mark.parametrize("name", RUNTIMES)
def test_a_runtime_has_its_session_and_its_exporter(name):
    module, _, session = RUNTIMES[name].session.partition(":")
    tree = ast.parse((PACKAGE / "worker" / "sessions" / f"{module}.py").read_text())
    assert session in {node.name for node in tree.body if isinstance(node, ast.ClassDef)}
    assert (PACKAGE / "export" / f"{RUNTIMES[name].exporter}.py").is_file()


@pytest.mark.parametrize("name", RUNTIMES)
def test_the_extra_of_a_runtime_and_bench_install_its_packages(name):
    installed = installed_by(RUNTIMES[name].extra) | installed_by("bench")
    for distribution in {*RUNTIMES[name].packages.values(), RUNTIMES[name].distribution}:
        assert installed & {distribution, *OTHER_BUILDS.get(distribution, ())}, distribution


def test_a_missing_package_names_the_extra_that_installs_it():
    assert {package: extra_of(package) for package in ("openvino", "executorch", "tensorrt", "onnx", "numpy")} == {
        "openvino": "openvino",
        "executorch": "executorch",
        "tensorrt": "tensorrt",
        "onnx": "bench",
        "numpy": "bench",
    }


def test_runtimes_refer_to_runtimes():
    others = {name for one in RUNTIMES.values() for name in (one.exported_model, one.preflight) if name}
    assert others | {DEFAULT} <= set(RUNTIMES)
    assert {"torch", "executorch"} <= set(runtimes_of("PyTorch"))


def test_a_distribution_that_is_not_installed_has_no_version():
    assert installed_version("numpy") != ""
    assert installed_version("no-such-distribution-of-ours") == ""


@pytest.mark.parametrize("name", ["torch_compile", "torch_export", "torchscript", "executorch"])
def test_only_the_registry_lists_runtimes_by_name(name):
    literal = re.compile(rf"""["']{name}["']""")
    sources = [path for path in PACKAGE.rglob("*.py") if "importers" not in path.parts]
    allowed = {"runtimes.py", "execu_torch.py", "to_executorch.py"}  # the session and exporter name their own package
    assert [p.name for p in sources if literal.search(p.read_text()) and p.name not in allowed] == []
