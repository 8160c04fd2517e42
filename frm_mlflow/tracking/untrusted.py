"""Checks whether the files of a logged model can be opened without running any code of whoever logged it.

`torch.export.load` is not safe for such files: it unpickles, it evaluates the guards and the sizes of `model.json` as
Python, and it loads compiled libraries. MLflow looks only for pickles, and not in all versions. Therefore only what is
listed here is accepted, and everything else needs the user's consent.
"""

from __future__ import annotations

import ast
import io
import json
import os
import pickletools
import re
import stat
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from frm_mlflow.errors import ConfigError

CONSENT = "If you trust who logged it, set trust=true"
"""The end of every refusal; `UntrustedModelError` appends it."""

_RECORDS = re.compile(
    r"archive_format|archive_version|byteorder|version|\.data/(version|serialization_id)|models/model\.json"
    r"|data/weights/(weight_\d+|model_weights_config\.json)|data/constants/(tensor_\d+|model_constants_config\.json)"
    r"|data/sample_inputs/model\.pt|extra/[\w.\-/]+"
)
"""Records of an archive of `torch.export.save` that are neither unpickled nor compiled code."""
_PAYLOAD = re.compile(r"(weight|tensor)_\d+")
_NESTED = re.compile(
    r"data\.pkl|byteorder|version|\.format_version|\.storage_alignment|\.data/serialization_id|data/\d+"
)
_TENSOR_GLOBALS = re.compile(
    r"collections OrderedDict|builtins set|torch\._utils _rebuild_(tensor_v2|parameter)|torch\.nn\.parameter Parameter"
    r"|torch Tensor|torch\._tensor _rebuild_from_type_v2"
    r"|torch (\w+Storage|Size|device|float\d*|bfloat16|half|double|u?int\d+|bool|long|short)"
    r"|torch\.storage (Typed|Untyped)Storage|torch\.serialization _get_layout"
)
"""Names that the pickle of tensors and containers may contain."""
_IMPORTING_OPCODES = frozenset(("STACK_GLOBAL", "INST", "OBJ", "NEWOBJ", "NEWOBJ_EX", "EXT1", "EXT2", "EXT4"))
_NAME = re.compile(r"[\w.$]*")
_OPERATOR = re.compile(
    r"torch\.ops\.(?:aten|prims|quantized_decomposed|torchvision)\.(?!from_file|save\b)\w+(?:\.\w+)?"
    r"|torch\.ops\.higher_order\.(?:cond|while_loop|scan|map_impl|wrap_with_set_grad_enabled|wrap_with_autocast)"
    r"|_operator\.(?:getitem|add|sub|mul|truediv|floordiv|mod|pow|neg|pos|eq|ne|lt|le|gt|ge|and_|or_|xor|not_|abs"
    r"|lshift|rshift)"
    r"|math\.\w+|torch\._?sym_\w+"
)
_CONTAINERS = frozenset(
    (
        *(None, "builtins.tuple", "builtins.list", "builtins.dict", "builtins.NoneType", "collections.OrderedDict"),
        *("torch.fx.immutable_collections.immutable_list", "torch.fx.immutable_collections.immutable_dict"),
    )
)
_FREE_TEXT = frozenset(("metadata", "as_string", "as_strings", "torch_version", "verifiers"))
"""Fields of `model.json` whose strings are only stored, compared or quoted."""
_FORBIDDEN = frozenset(("as_custom_obj", "custom_obj", "treespec_namedtuple_fields", "custom_obj_values"))
_SIZE_FUNCTIONS = frozenset(
    (
        *("Symbol", "Integer", "Float", "Rational", "Add", "Mul", "Pow", "Mod", "PythonMod", "Max", "Min", "Abs"),
        *(
            "FloorDiv",
            "CleanDiv",
            "CeilDiv",
            "ModularIndexing",
            "IntTrueDiv",
            "FloatTrueDiv",
            "FloatPow",
            "PowByNatural",
        ),
        *("CeilToInt", "FloorToInt", "TruncToInt", "TruncToFloat", "RoundToInt", "RoundDecimal", "ToFloat", "Where"),
        *("Equality", "Unequality", "Eq", "Ne", "Lt", "Le", "Gt", "Ge", "And", "Or", "Not", "floor", "ceiling"),
        *("StrictLessThan", "StrictGreaterThan", "LessThan", "GreaterThan", "Infinity", "NegativeInfinity", "Identity"),
    )
)
_GUARD_METHODS = frozenset(("size", "stride", "dim", "numel", "storage_offset", "shape", "ndim"))
_GUARD_FUNCTIONS = _SIZE_FUNCTIONS | {"len", "min", "max", "int", "float", "abs"}
_ARITHMETIC = (
    *(ast.Expression, ast.Constant, ast.Name, ast.Load, ast.BinOp, ast.UnaryOp, ast.BoolOp, ast.Compare, ast.Tuple),
    *(ast.operator, ast.unaryop, ast.boolop, ast.cmpop),
)
_OPERATORS_WITH_CODE = frozenset(("EPContext", "PyOp", "PythonOp", "PythonOpGrad"))
"""ONNX operators that pass a library, a compiled blob or Python to the runtime."""
_CODE_SETTINGS = frozenset(
    ("auto_map", "quantization_config", "custom_pipelines", "use_pretrained_backbone", "use_kernels", "kernel_config")
)
"""Keys of a transformers configuration that import code or download other models."""
_PICKLE_SUFFIXES = frozenset((".pkl", ".pickle", ".pth", ".bin", ".ckpt", ".joblib", ".npy", ".dill"))


class UntrustedModelError(ConfigError):
    """A logged model could run foreign code when it is opened, or refers to files outside its folder."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"'{name}' was not opened: {reason}. {CONSENT}.")


def check_folder(folder: Path, flavors: dict[str, Any], *, name: str) -> None:
    """Refuse a model that contains Python code, links, or flavors whose paths lead out of its folder.

    Raises
    ------
    UntrustedModelError
        If there is any; the message names it.
    """
    for path in _tree(folder):
        mode = path.lstat().st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            raise UntrustedModelError(name, f"'{path.relative_to(folder)}' is a link or a special file")
    for flavor, settings in flavors.items():
        if isinstance(settings, dict) and settings.get("code"):
            raise UntrustedModelError(name, f"its flavor {flavor} brings Python code ('{settings['code']}')")
    if (folder / "code").exists():
        raise UntrustedModelError(name, "it brings Python code ('code')")


def inside(folder: Path, relative: str, *, name: str) -> Path:
    """Return the file that a model refers to in its folder.

    Raises
    ------
    UntrustedModelError
        If the path leads out of the folder or does not exist.
    """
    path = folder / relative
    if not path.resolve().is_relative_to(folder.resolve()) or path.resolve() == folder.resolve():
        raise UntrustedModelError(name, f"it names '{relative}', which is outside of its folder")
    if not path.exists():
        raise ConfigError(f"'{name}' has no file '{relative}': log the model again")
    return path


def check_program(file: Path, *, name: str) -> None:
    """Refuse an archive of `torch.export.save` that contains anything but a graph and tensors.

    Raises
    ------
    UntrustedModelError
        If there is such a record; the message names it and what is wrong with it.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            records = _records(archive, name)
            graph = json.loads(archive.read(records["models/model.json"]))
            _check_graph(graph, name)
            for path in ("data/weights/model_weights_config.json", "data/constants/model_constants_config.json"):
                _check_payloads(json.loads(archive.read(records[path])), name)
            _check_tensors(archive.read(records["data/sample_inputs/model.pt"]), name)
    except KeyError as error:
        reason = f"its archive has no record {error}: log the model again with a newer torch"
        raise UntrustedModelError(name, reason) from error
    except (zipfile.BadZipFile, ValueError, RecursionError, OSError, AttributeError, TypeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UntrustedModelError(name, f"its archive '{file.name}' cannot be read: {reason}") from error


def check_onnx(file: Path, model: Any, *, folder: Path, name: str) -> None:
    """Refuse an ONNX model whose data is outside its folder, or that passes code to a runtime.

    Parameters
    ----------
    model
        The `ModelProto` of `file`, its external data not loaded.

    Raises
    ------
    UntrustedModelError
        If it does; the message names the path or the operator.
    """
    for message in _messages(model):
        kind = type(message).__name__
        if kind == "TensorProto" and message.external_data:
            _check_external({entry.key: entry.value for entry in message.external_data}, file, folder, name)
        elif kind == "NodeProto" and message.op_type in _OPERATORS_WITH_CODE:
            raise UntrustedModelError(name, f"its operator {message.op_type} runs code that is not ONNX")


def check_weights(folder: Path, *, name: str) -> None:
    """Refuse a folder of a transformers model that contains pickles, or whose configuration refers to code.

    Raises
    ------
    UntrustedModelError
        If it does; the message names the file.
    """
    for path in _tree(folder):
        if path.suffix in _PICKLE_SUFFIXES or path.suffix == ".py":
            raise UntrustedModelError(name, f"'{path.name}' is a pickle or Python code, not safetensors")
        if path.name == "adapter_config.json":
            raise UntrustedModelError(name, "it is an adapter, which loads another model")
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"'{name}' has no readable config.json: log the model again ({error})") from error
    for key, value in _entries(config):
        if value and (key in _CODE_SETTINGS or "attn_implementation" in key):
            raise UntrustedModelError(name, f"its config.json sets {key}, which can import or download code")


def _tree(folder: Path) -> Iterator[Path]:
    for parent, folders, files in os.walk(folder, followlinks=False):
        yield from (Path(parent) / entry for entry in (*folders, *files))


def _records(archive: zipfile.ZipFile, name: str) -> dict[str, zipfile.ZipInfo]:
    """Return an archive's records by their path below its single root."""
    infos = archive.infolist()
    paths = [PurePosixPath(info.filename) for info in infos]
    roots = {path.parts[0] for path in paths if path.parts}
    records = {str(PurePosixPath(*path.parts[1:])): info for path, info in zip(paths, infos, strict=True)}
    if archive.comment or len(roots) != 1 or len(records) != len(infos) or infos[0].header_offset != 0:
        raise UntrustedModelError(name, "its archive is not one that torch.export.save writes")
    for path, info in records.items():
        if not _RECORDS.fullmatch(path) or ".." in info.filename or stat.S_ISLNK(info.external_attr >> 16):
            raise UntrustedModelError(
                name, f"its archive holds '{info.filename}', which is more than a graph and tensors"
            )
    return records


def _check_payloads(config: Any, name: str) -> None:
    for key, entry in config["config"].items():
        if entry["use_pickle"] is not False or not _PAYLOAD.fullmatch(entry["path_name"]):
            raise UntrustedModelError(name, f"its tensor '{key}' is a pickle")
        _check_name(key, name)


def _check_tensors(content: bytes, name: str) -> None:
    """Refuse a file of `torch.save` that contains more than tensors in containers."""
    with zipfile.ZipFile(io.BytesIO(content)) as nested:
        inner = [PurePosixPath(info.filename) for info in nested.infolist()]
        pickles = [path for path in inner if path.name == "data.pkl"]
        strange = [path for path in inner if not _NESTED.fullmatch(str(PurePosixPath(*path.parts[1:])))]
        if strange or len(pickles) != 1 or len(set(inner)) != len(inner) or nested.comment:
            raise UntrustedModelError(name, "its example inputs are not what torch.save writes")
        for opcode, argument, _ in pickletools.genops(nested.read(str(pickles[0]))):
            named = opcode.name == "GLOBAL" and not _TENSOR_GLOBALS.fullmatch(str(argument))
            if named or opcode.name in _IMPORTING_OPCODES:
                raise UntrustedModelError(name, f"its example inputs are a pickle that names {argument or opcode.name}")


def _check_graph(value: Any, name: str, *, key: str = "") -> None:
    """Walk `model.json` and check that each string is a name, or what its field allows."""
    if isinstance(value, dict):
        for inner, content in value.items():
            if inner in _FORBIDDEN and content:
                raise UntrustedModelError(name, f"its graph has {inner}")
            _check_name(inner, name)
            if inner not in _FREE_TEXT:
                _check_graph(content, name, key=inner)
    elif isinstance(value, list):
        for content in value:
            _check_graph(content, name, key=key)
    elif isinstance(value, str):
        _check_string(value, name, key=key)


def _check_string(value: str, name: str, *, key: str) -> None:
    if key in ("target", "as_operator"):
        allowed = _OPERATOR.fullmatch(value) is not None
    elif key in ("in_spec", "out_spec"):
        allowed = _is_container(json.loads(value)[1], keys=str.isidentifier if key == "in_spec" else _is_plain)
    elif key == "expr_str":
        allowed = _is_size(value)
    elif key == "guards_code":
        allowed = _is_guard(value)
    elif key == "forward_arg_names":
        allowed = value.isidentifier()
    else:
        allowed = _NAME.fullmatch(value) is not None
    if not allowed:
        raise UntrustedModelError(name, f"the {key or 'name'} '{value[:80]}' of its graph is not one that torch writes")


def _check_name(value: str, name: str) -> None:
    if not _NAME.fullmatch(value):
        raise UntrustedModelError(name, f"the name '{value[:80]}' of its graph is not one that torch writes")


def _is_plain(value: str) -> bool:
    return re.fullmatch(r"[\w .:/-]*", value) is not None


def _is_container(spec: Any, *, keys: Any) -> bool:
    """Whether the structure of a call consists of tuples, lists and dicts with keys that are text or numbers."""
    context = None if spec["context"] is None else json.loads(spec["context"])
    entries = context if isinstance(context, list) else [] if context is None else [context]
    plain = all(isinstance(entry, int) or (isinstance(entry, str) and keys(entry)) for entry in entries)
    return plain and spec["type"] in _CONTAINERS and all(_is_container(c, keys=keys) for c in spec["children_spec"])


def _is_size(text: str) -> bool:
    """Whether an expression of sizes calls only the functions of sizes."""
    return all(
        (isinstance(node, (*_ARITHMETIC, ast.keyword)) and _is_number_or_name(node)) or _calls(node, _SIZE_FUNCTIONS)
        for node in ast.walk(ast.parse(text, mode="eval"))
    )


def _is_guard(text: str) -> bool:
    """Whether a guard compares only the sizes of inputs."""
    return all(
        (isinstance(node, (*_ARITHMETIC, ast.Subscript)) and _is_number_or_name(node))
        or (isinstance(node, ast.Attribute) and _is_of_sizes(node))
        or _calls(node, _GUARD_FUNCTIONS)
        or (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and not node.keywords)
        for node in ast.walk(ast.parse(text, mode="eval"))
    )


def _is_number_or_name(node: ast.AST) -> bool:
    """Whether a constant is a number or a name; true for any other node."""
    if not isinstance(node, ast.Constant):
        return True
    return isinstance(node.value, int | float) or (isinstance(node.value, str) and bool(_NAME.fullmatch(node.value)))


def _is_of_sizes(node: ast.Attribute) -> bool:
    """Whether an attribute is a size of a tensor, or one of torch's or math's functions of sizes."""
    if isinstance(node.value, ast.Name) and node.value.id in ("torch", "math"):
        return node.attr.startswith("sym_") if node.value.id == "torch" else not node.attr.startswith("_")
    return node.attr in _GUARD_METHODS


def _calls(node: ast.AST, functions: frozenset[str]) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in functions


def _check_external(entry: dict[str, str], file: Path, folder: Path, name: str) -> None:
    location = entry.get("location", "")
    path = file.parent / location
    lexical = PurePosixPath(location.replace("\\", "/"))
    if not location or lexical.is_absolute() or ".." in lexical.parts or ":" in location:
        raise UntrustedModelError(name, f"its data is in '{location}', outside of its folder")
    if not path.resolve().is_relative_to(folder.resolve()) or path.is_symlink():
        raise UntrustedModelError(name, f"its data is in '{location}', outside of its folder")
    if not path.is_file():
        raise ConfigError(f"'{name}' lacks its data file '{location}': log the model again with it")


def _messages(message: Any) -> Iterator[Any]:
    """Yield a protobuf message and all messages in it, except those inside a tensor."""
    yield message
    if type(message).__name__ == "TensorProto":
        return
    for field, content in message.ListFields():
        if field.message_type is not None:
            for inner in (content,) if hasattr(content, "ListFields") else content:
                yield from _messages(inner)


def _entries(value: Any) -> Iterator[tuple[str, Any]]:
    """Yield each key of nested JSON with its value."""
    if isinstance(value, dict):
        for key, content in value.items():
            yield str(key), content
            yield from _entries(content)
    elif isinstance(value, list):
        for content in value:
            yield from _entries(content)
