"""Checks on a model before anything is exported or measured, without running any of its code."""

from __future__ import annotations

import ast
import importlib.util
import zipfile
from importlib.machinery import all_suffixes
from pathlib import Path

from frm_mlflow.config import ModelConfig, PrecisionConfig
from frm_mlflow.errors import ConfigError
from frm_mlflow.near import near_names
from frm_mlflow.zoo.inputs import inputs_of, read, specs_of


def check_model(model: ModelConfig, precision: PrecisionConfig, *, batch_size: int) -> None:
    """Reject a model whose files, code or shapes are missing.

    Raises
    ------
    ConfigError
        Naming the setting, its value and what to set instead.
    """
    if precision.calibration and not Path(precision.calibration).is_file():
        raise ConfigError(f"precision.calibration: there is no file '{precision.calibration}'")
    for spec in specs_of(model).values():
        if spec.file is not None:
            read(spec)
    if model.source == "target":
        find_factory(str(model.target), setting="model.target")
        if model.example is not None:
            find_factory(model.example, setting="model.example")
        inputs_of(model, batch_size=batch_size)
    if model.source == "onnx":
        _check_onnx(_existing(model), model, batch_size=batch_size)
    if model.source == "pt2" and not zipfile.is_zipfile(_existing(model)):
        raise ConfigError(f"model.path: '{model.path}' is not a file of torch.export.save")


def find_factory(target: str, *, setting: str) -> Path:
    """Return the file of the module in `package.module:factory`, which must define the name; nothing is imported.

    Raises
    ------
    ConfigError
        If the module is not on the Python path, or does not define the name.
    """
    module, colon, name = target.partition(":")
    if not module or not colon or not name:
        raise ConfigError(f"{setting} must be package.module:factory, got '{target}'")
    path = _file_of(module, setting=f"{setting}={target}")
    defined = _defined(path)
    if defined is not None and name not in defined:
        close = near_names(name, defined)
        hint = f" Did you mean {' or '.join(close)}?" if close else ""
        raise ConfigError(f"{setting}={target}: module '{module}' ({path}) has no callable '{name}'.{hint}")
    return path


def _file_of(module: str, *, setting: str) -> Path:
    """Find a module's file part by part, because importlib's search would import its parent packages."""
    first, *rest = module.split(".")
    spec = importlib.util.find_spec(first)
    if spec is None:
        raise _no_module(first, setting)
    file = Path(spec.origin) if spec.origin and Path(spec.origin).is_file() else None
    folders = [Path(folder) for folder in spec.submodule_search_locations or ()]
    for depth, part in enumerate(rest, start=2):
        name = ".".join([first, *rest][:depth])
        packages = [folder / part for folder in folders]
        files = [package / "__init__.py" for package in packages]
        files += [folder / f"{part}{suffix}" for folder in folders for suffix in all_suffixes()]
        file = next((candidate for candidate in files if candidate.is_file()), None)
        folders = [package for package in packages if package.is_dir()]
        if file is None and not folders:
            raise _no_module(name, setting)
    if file is None:
        raise ConfigError(f"{setting}: '{module}' is a folder without a module of that name")
    return file


def _no_module(name: str, setting: str) -> ConfigError:
    return ConfigError(
        f"{setting}: there is no module '{name}' on the Python path or in the working directory {Path.cwd()}; "
        "start the command in the folder of its file, or set PYTHONPATH"
    )


def _defined(path: Path) -> set[str] | None:
    """Return the names that a module defines at its top level; None if only running it can tell."""
    if path.suffix != ".py":
        return None
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError) as error:
        raise ConfigError(f"'{path}' is not valid Python: {error}") from error
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom | ast.Import):
            aliases = [alias.asname or alias.name.partition(".")[0] for alias in node.names]
            if "*" in aliases:
                return None
            names.update(aliases)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, ast.Name) and node.id in ("globals", "setattr", "exec"):
            return None
    return None if "__getattr__" in names else names


def _existing(model: ModelConfig) -> Path:
    path = Path(str(model.path))
    if not path.is_file():
        raise ConfigError(f"model.path: there is no file '{path}'")
    return path


def _check_onnx(path: Path, model: ModelConfig, *, batch_size: int) -> None:
    from frm_mlflow.export.onnx_file import external_files, load, settled_inputs

    graph = load(path)
    external_files(path, graph)
    settled_inputs(graph, model, batch_size=batch_size)
