"""Folders of logged models that run injected code if they are opened without checks; the code writes a file."""

from __future__ import annotations

import io
import json
import os
import pickle
import re
import zipfile
from collections.abc import Callable
from pathlib import Path

import onnx
import torch
from torch import nn

Build = Callable[[Path, Path], None]
HEAD = "artifact_path: model\nrun_id: 0123456789abcdef0123456789abcdef\nflavors:\n"
FUNCTION = "  python_function:\n    loader_module: {loader}\n    code: {code}\n    data: data\n"
TORCH = "  pytorch:\n    model_data: data\n    pytorch_version: 2.10.0\n"


class Evil:
    """An object whose pickle runs a shell command."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


def shell(canary: Path) -> str:
    return f"touch {canary}"


def python(canary: Path) -> str:
    return f"__import__('os').system('touch {canary}')"


def plain(folder: Path, flavors: str = TORCH) -> Path:
    """Write a harmless model and return its archive."""
    (folder / "data").mkdir(parents=True)
    (folder / "MLmodel").write_text(HEAD + flavors)
    dynamic = ({0: torch.export.Dim("batch", min=1)},)
    program = torch.export.export(nn.Linear(8, 2).eval(), (torch.zeros(2, 8),), dynamic_shapes=dynamic)
    torch.export.save(program, folder / "data" / "model.pt2")
    return folder / "data" / "model.pt2"


def rewritten(file: Path, change: Callable[[str, bytes], bytes], extra: dict[str, bytes] | None = None) -> None:
    """Rewrite an archive: pass each record through `change` and add `extra`."""
    with zipfile.ZipFile(file) as archive:
        records = {info.filename: change(info.filename, archive.read(info)) for info in archive.infolist()}
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name, content in (records | (extra or {})).items():
            archive.writestr(name, content)


def in_graph(change: Callable[[dict, Path], None]) -> Build:
    """Return a builder of an archive with a changed `model.json`."""

    def build(folder: Path, canary: Path) -> None:
        def edit(name: str, content: bytes) -> bytes:
            if not name.endswith("models/model.json"):
                return content
            graph = json.loads(content)
            change(graph, canary)
            return json.dumps(graph).encode()

        rewritten(plain(folder), edit)

    return build


def guard(graph: dict, canary: Path) -> None:
    graph["guards_code"] = [f"{python(canary)} == 0"]


def target(graph: dict, canary: Path) -> None:
    node = graph["graph_module"]["graph"]["nodes"][0]
    node["target"] = "torch.os.system"
    node["inputs"] = [{"name": "command", "arg": {"as_string": shell(canary)}, "kind": 1}]


def argument_names(graph: dict, canary: Path) -> None:
    graph["graph_module"]["module_call_graph"][0]["signature"]["forward_arg_names"] = [f"x={python(canary)}"]


def container(graph: dict, canary: Path) -> None:
    spec = {"type": "collections.defaultdict", "context": json.dumps(["evil", "evil", []]), "children_spec": []}
    graph["graph_module"]["module_call_graph"][0]["signature"]["out_spec"] = json.dumps([1, spec])


def size(folder: Path, canary: Path) -> None:
    expression = json.dumps(python(canary)).encode()
    change = lambda _, content: re.sub(rb'"expr_str": "[^"]*"', b'"expr_str": ' + expression, content)  # noqa: E731
    rewritten(plain(folder), change)


def saved(canary: Path) -> bytes:
    buffer = io.BytesIO()
    torch.save(((Evil(shell(canary)),), {}), buffer)
    return buffer.getvalue()


def pickled_example(folder: Path, canary: Path) -> None:
    rewritten(plain(folder), lambda name, content: saved(canary) if name.endswith("model.pt") else content)


def pickled_weight(folder: Path, canary: Path) -> None:
    def change(name: str, content: bytes) -> bytes:
        if name.endswith("model_weights_config.json"):
            return content.replace(b'"use_pickle": false', b'"use_pickle": true')
        return saved(canary) if name.endswith("weight_0") else content

    rewritten(plain(folder), change)


def opaque_constant(folder: Path, canary: Path) -> None:
    entry = {"path_name": "opaque_obj_0", "is_param": False, "use_pickle": True, "tensor_meta": None}
    config = json.dumps({"config": {"evil": entry}}).encode()
    rewritten(
        plain(folder),
        lambda name, content: config if name.endswith("model_constants_config.json") else content,
        {"model/data/constants/opaque_obj_0": pickle.dumps(Evil(shell(canary)))},
    )


def library(folder: Path, canary: Path) -> None:
    rewritten(plain(folder), lambda _, content: content, {"model/data/aotinductor/model/model.so": b"\x7fELF"})


def slip(folder: Path, canary: Path) -> None:
    rewritten(plain(folder), lambda _, content: content, {f"model/../../../../../../{canary}": b"slipped"})


def whole_pickle(folder: Path, canary: Path) -> None:
    plain(folder).unlink()
    torch.save(Evil(shell(canary)), folder / "data" / "model.pth")
    (folder / "data" / "pickle_module_info.txt").write_text("mlflow.pytorch.pickle_module")


def code_module(folder: Path, canary: Path) -> None:
    plain(
        folder, TORCH + "    code: code\n  python_function:\n    loader_module: evil\n    code: code\n    data: data\n"
    )
    (folder / "code").mkdir()
    (folder / "code" / "evil.py").write_text(f"import os\nos.system({shell(canary)!r})\n")


def site_module(folder: Path, canary: Path) -> None:
    plain(
        folder,
        TORCH
        + "    code: code\n  python_function:\n    loader_module: mlflow.pytorch\n    code: code\n    data: data\n",
    )
    (folder / "code").mkdir()
    for name in ("sitecustomize", "usercustomize", "torch", "numpy"):
        (folder / "code" / f"{name}.py").write_text(f"import os\nos.system({shell(canary)!r})\n")


def undeclared_code(folder: Path, canary: Path) -> None:
    site_module(folder, canary)
    (folder / "MLmodel").write_text(HEAD + TORCH)


def own_loader(folder: Path, canary: Path) -> None:
    plain(folder, FUNCTION.format(loader="loader", code="lib"))
    (folder / "lib").mkdir()
    (folder / "lib" / "loader.py").write_text(f"import os\nos.system({shell(canary)!r})\n")


def loader_os(folder: Path, canary: Path) -> None:
    plain(folder, "  python_function:\n    loader_module: os\n    data: data\n")


def tagged_yaml(folder: Path, canary: Path) -> None:
    plain(folder)
    text = f"{HEAD}{TORCH}metadata: !!python/object/apply:os.system ['{shell(canary)}']\n"
    (folder / "MLmodel").write_text(text)


def path_outside(folder: Path, canary: Path) -> None:
    plain(folder)
    (folder / "MLmodel").write_text(HEAD + TORCH.replace("model_data: data", "model_data: ../../../../../etc"))


def external_data(location: str) -> Build:
    def build(folder: Path, canary: Path) -> None:
        folder.mkdir(parents=True)
        (folder / "MLmodel").write_text(HEAD + "  onnx:\n    data: model.onnx\n    onnx_version: 1.17.0\n")
        tensor = onnx.TensorProto(name="w", data_type=onnx.TensorProto.FLOAT, dims=[8, 2])
        tensor.data_location = onnx.TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value=location)
        graph = onnx.helper.make_graph(
            [onnx.helper.make_node("MatMul", ["x", "w"], ["y"])],
            "g",
            [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1, 8])],
            [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1, 2])],
            [tensor],
        )
        (folder / "model.onnx").write_bytes(onnx.helper.make_model(graph).SerializeToString())

    return build


def transformer(folder: Path) -> Path:
    from transformers import ViTConfig, ViTForImageClassification

    flavor = "  transformers:\n    model_binary: model\n    task: image-classification\n    instance_type: X\n"
    folder.mkdir(parents=True)
    (folder / "MLmodel").write_text(HEAD + flavor)
    config = ViTConfig(image_size=8, patch_size=4, num_channels=1, hidden_size=8, num_hidden_layers=1)
    config.num_attention_heads = 2
    ViTForImageClassification(config).save_pretrained(folder / "model")
    return folder / "model"


def remote_code(folder: Path, canary: Path) -> None:
    model = transformer(folder)
    config = json.loads((model / "config.json").read_text())
    config["auto_map"] = {"AutoModelForImageClassification": "evil.Evil"}
    (model / "config.json").write_text(json.dumps(config))
    (model / "evil.py").write_text(f"import os\nos.system({shell(canary)!r})\n")


def pickled_weights(folder: Path, canary: Path) -> None:
    model = transformer(folder)
    (model / "model.safetensors").unlink()
    torch.save(Evil(shell(canary)), model / "pytorch_model.bin")


def requirements(folder: Path, canary: Path) -> None:
    """Write a harmless graph that requires a package whose setup writes the file."""
    plain(folder)
    package = folder / "package"
    package.mkdir()
    (package / "setup.py").write_text(f"import os\nos.system({shell(canary)!r})\n")
    for name in ("requirements.txt", "conda.yaml"):
        (folder / name).write_text(f"file://{package}\n")


REFUSED: dict[str, Build] = {
    "guard": in_graph(guard),
    "target": in_graph(target),
    "argument_names": in_graph(argument_names),
    "container": in_graph(container),
    "size": size,
    "pickled_example": pickled_example,
    "pickled_weight": pickled_weight,
    "opaque_constant": opaque_constant,
    "library": library,
    "slip": slip,
    "whole_pickle": whole_pickle,
    "code_module": code_module,
    "site_module": site_module,
    "undeclared_code": undeclared_code,
    "own_loader": own_loader,
    "path_outside": path_outside,
    "data_above": external_data("../../../../../../../../etc/passwd"),
    "data_absolute": external_data("/etc/passwd"),
    "remote_code": remote_code,
    "pickled_weights": pickled_weights,
}
"""Models that `trust=true` would allow."""
UNREADABLE: dict[str, Build] = {"loader_os": loader_os, "tagged_yaml": tagged_yaml}
"""Models that are rejected even with `trust=true`."""
HARMLESS: dict[str, Build] = {"requirements": requirements, "plain": lambda folder, _: plain(folder) and None}
CONTROLS = (
    "guard",
    "size",
    "pickled_example",
    "pickled_weight",
    "opaque_constant",
    "whole_pickle",
    "code_module",
    "own_loader",
)
"""Models that really write the file if MLflow or torch loads them."""
