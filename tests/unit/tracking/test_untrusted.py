"""What a logged model may contain, part by part; complete hostile models are tested in tests/integrations."""

from __future__ import annotations

import os

import pytest

from frm_mlflow.errors import ConfigError
from frm_mlflow.tracking import untrusted
from frm_mlflow.tracking.untrusted import UntrustedModelError


@pytest.mark.parametrize(
    "text",
    [
        "Symbol('s77', positive=True, integer=True)",
        "Add(Mul(Integer(2), Symbol('s0', integer=True)), Integer(-1))",
        "FloorDiv(Symbol('u0', integer=True), Integer(2))",
        "Max(Integer(1), Float('0.5', precision=53))",
        "s77",
    ],
)
def test_sizes_that_torch_writes_are_accepted(text):
    assert untrusted._is_size(text)


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('true')",
        "Symbol.__class__",
        "Integer(__import__('os'))",
        "(lambda: 1)()",
        "[x for x in ()]",
        "eval('1')",
        "Symbol('1); import os; (')",
        "getattr(Integer, 'x')",
        "f'{1}'",
        "Symbol(**{})",
    ],
)
def test_sizes_that_are_programs_are_not(text):
    assert not untrusted._is_size(text)
    assert not untrusted._is_guard(text) or text.startswith("Symbol('")


@pytest.mark.parametrize(
    "text",
    [
        "L['x'].size()[0] >= 2",
        "L['args'][0][0].size()[1] != torch.sym_max(1, L['x'].size()[1] // 2)",
        "2 <= L['x'].stride()[0] and L['x'].size()[0] <= 64",
        "Eq(Mod(L['x'].size()[0], 4), 0)",
    ],
)
def test_guards_that_torch_writes_are_accepted(text):
    assert untrusted._is_guard(text)


@pytest.mark.parametrize(
    "text",
    [
        "L['x'].__class__",
        "torch.os.system('true') == 0",
        "L['x'].size.__globals__['os'].system('true')",
        "open('/etc/passwd')",
        "L['x'].size()[0] == (lambda: 1)()",
        "torch.load('x')",
        "math.__loader__",
    ],
)
def test_guards_that_are_programs_are_not(text):
    assert not untrusted._is_guard(text)


@pytest.mark.parametrize(
    ("target", "allowed"),
    [
        ("torch.ops.aten.linear.default", True),
        ("torch.ops.torchvision.nms.default", True),
        ("_operator.getitem", True),
        ("torch.sym_max", True),
        ("torch.os.system", False),
        ("torch.ops.aten.from_file.default", False),
        ("torch.ops.higher_order.triton_kernel_wrapper_mutation", False),
        ("torch.ops.load_library", False),
        ("_operator.methodcaller", False),
        ("_operator.attrgetter", False),
        ("torch.hub.load", False),
        ("math.__loader__.load_module", False),
    ],
)
def test_call_targets(target, allowed):
    assert bool(untrusted._OPERATOR.fullmatch(target)) is allowed


@pytest.mark.parametrize("make", [os.symlink, lambda _, path: os.mkfifo(path)], ids=["symlink", "fifo"])
def test_links_and_special_files_are_refused(tmp_path, make):
    (tmp_path / "data").mkdir()
    make("/etc/passwd", tmp_path / "data" / "model.pt2")
    with pytest.raises(UntrustedModelError, match=r"data/model.pt2.*trust=true"):
        untrusted.check_folder(tmp_path, {}, name="m")


@pytest.mark.parametrize("relative", ["../outside", "/etc/passwd", "data/../../x", "", "."])
def test_a_path_out_of_the_folder_is_refused(tmp_path, relative):
    with pytest.raises(UntrustedModelError, match="outside of its folder"):
        untrusted.inside(tmp_path, relative, name="m")


def test_a_file_that_is_missing_is_not_a_matter_of_trust(tmp_path):
    with pytest.raises(ConfigError, match=r"has no file 'model\.onnx'") as raised:
        untrusted.inside(tmp_path, "model.onnx", name="m")
    assert not isinstance(raised.value, UntrustedModelError)


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x05\x06" + b"\0" * 18])
def test_a_file_that_is_no_archive_is_refused(tmp_path, content):
    file = tmp_path / "model.pt2"
    file.write_bytes(content)
    with pytest.raises(UntrustedModelError):
        untrusted.check_program(file, name="m")
