from __future__ import annotations

import socket
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn
from torch.nn.utils import prune

from frm_mlflow.errors import ConfigError, ExportError
from frm_mlflow.export.capture import capture
from frm_mlflow.export.flat import Call
from frm_mlflow.export.program_file import load
from frm_mlflow.zoo.sparsity import count_sparsity

IMAGES = torch.linspace(-1, 1, 3 * 64).reshape(3, 1, 8, 8)


def outputs(path: Path, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
    with torch.no_grad():
        return load(path)(*inputs)


def test_the_program_computes_the_module_in_eval_mode(net, tmp_path):
    captured = capture(net, IMAGES, tmp_path, batch_size=None)
    with torch.no_grad():
        torch.testing.assert_close(outputs(captured.path, IMAGES)[0], net.eval()(IMAGES))


def test_capture_does_not_change_the_module(net, tmp_path):
    net.train()
    net.norm.eval()  # a frozen layer
    net(IMAGES).sum().backward()
    before = {key: value.clone() for key, value in net.state_dict().items()}
    gradients = [p.grad.clone() for p in net.parameters()]
    state = torch.get_rng_state()
    capture(net, IMAGES, tmp_path)
    assert torch.equal(state, torch.get_rng_state())
    assert net.training
    assert net.drop.training
    assert not net.norm.training
    assert all(torch.equal(before[key], value) for key, value in net.state_dict().items())
    assert all(torch.equal(old, p.grad) and p.requires_grad for old, p in zip(gradients, net.parameters(), strict=True))


@pytest.mark.parametrize(("batch_size", "rows"), [(1, [0]), (2, [0, 1]), (5, [0, 1, 2, 0, 1]), (None, [0, 1, 2])])
def test_the_example_is_cut_or_repeated_to_the_batch(net, tmp_path, batch_size, rows):
    captured = capture(net, IMAGES, tmp_path, batch_size=batch_size)
    assert captured.batch_size == len(rows)
    torch.testing.assert_close(load(captured.path).example[0], IMAGES[rows])


def test_a_compiled_and_a_distributed_module_are_unwrapped(net, tmp_path):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    torch.distributed.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=0, world_size=1)
    try:
        wrapped = torch.compile(nn.parallel.DistributedDataParallel(net))
        captured = capture(wrapped, IMAGES, tmp_path)
    finally:
        torch.distributed.destroy_process_group()
    with torch.no_grad():
        torch.testing.assert_close(outputs(captured.path, IMAGES[:1])[0], net.eval()(IMAGES[:1]))


class Nested(nn.Module):
    """A module with arguments and results of every form."""

    def forward(self, images, pair, *, scale=None, flip=False):
        left, right = pair["left"], pair["right"][0]
        result = images.mean((1, 2, 3)) + left - right
        if scale is not None:
            result = result * scale
        return {"logits": -result if flip else result, "rest": (result + 1, None)}


PAIR = {"left": torch.ones(3), "right": (torch.full((3,), 2.0),)}


@pytest.mark.parametrize(
    ("example", "expected"),
    [
        ((IMAGES, PAIR), -1.0),
        ({"images": IMAGES, "pair": PAIR, "flip": True}, 1.0),
        (Call((IMAGES,), {"pair": PAIR, "scale": torch.tensor(3.0)}), -3.0),
    ],
    ids=["tuple", "dict", "both"],
)
def test_nested_arguments_and_results_are_flattened(tmp_path, example, expected):
    captured = capture(Nested(), example, tmp_path, batch_size=None)
    program = load(captured.path)
    first, second = program(*program.example)
    torch.testing.assert_close(first, IMAGES.mean((1, 2, 3)) * (expected / -1.0) + expected)
    assert second.shape == (3,)


class OneDict(nn.Module):
    def forward(self, batch):
        return batch["a"] + batch["b"]


def test_a_dict_whose_keys_are_no_parameters_is_one_argument(tmp_path):
    captured = capture(OneDict(), {"a": torch.ones(2, 3), "b": torch.ones(2, 3)}, tmp_path)
    assert [tuple(t.shape) for t in load(captured.path).example] == [(1, 3), (1, 3)]


def test_arrays_and_tables_are_taken_as_float32(tmp_path):
    for example in (np.ones((2, 4)), pd.DataFrame(np.ones((2, 4)))):
        captured = capture(nn.Linear(4, 2), example, tmp_path)
        assert load(captured.path).example[0].dtype == torch.float32


class AnySize(nn.Module):
    def forward(self, images):
        return images.mean((2, 3)) * images.shape[-1]


def test_a_model_of_free_size_is_measured_at_the_examples_size(tmp_path):
    for side in (8, 20):
        captured = capture(AnySize(), torch.zeros(1, 3, side, side), tmp_path)
        assert load(captured.path).example[0].shape == (1, 3, side, side)


class DataDependent(nn.Module):
    def forward(self, x):
        return x * 2 if x.sum() > 0 else x - 1


class Restless(nn.Module):
    def forward(self, x):
        return x + torch.randn_like(x)


@pytest.mark.parametrize(
    ("model", "example", "error", "message"),
    [
        (nn.Linear(4, 2), None, ConfigError, "no example input"),
        (nn.Linear(4, 2), {"input": "text"}, ConfigError, "holds no tensor"),
        (nn.Linear(4, 2), torch.zeros(1, 5), ConfigError, "Linear fails on the example input"),
        (nn.Linear(4, 2, device="meta"), torch.zeros(1, 4), ConfigError, "meta device"),
        (nn.Linear(4, 2).half(), torch.zeros(1, 4), ConfigError, r"pass model\.float\(\)"),
        (torch.jit.trace(nn.Linear(4, 2), torch.zeros(1, 4)), torch.zeros(1, 4), ConfigError, "nn.Module is needed"),
        (lambda x: x, torch.zeros(1, 4), ConfigError, "not function"),
        (DataDependent(), torch.ones(1, 4), ExportError, "control flow"),
        (Restless(), torch.zeros(1, 64), ExportError, "computes something else"),
    ],
    ids=["none", "no-tensor", "shape", "meta", "half", "script", "function", "control-flow", "random"],
)
def test_what_cannot_be_captured_is_refused_with_a_remedy(tmp_path, model, example, error, message):
    with pytest.raises(error, match=message):
        capture(model, example, tmp_path)


def test_a_pruned_network_counts_dense_and_effective(tmp_path):
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 8))
    prune.l1_unstructured(model[3], "weight", amount=0.5)
    program = load(capture(model, IMAGES, tmp_path).path)
    found = count_sparsity(program.module, program.example)
    convolution, dense = 4 * 9 * 36, 4 * 36 * 8
    assert found.effective_gmacs * 1e9 == pytest.approx(convolution + dense / 2)
    assert found.weight_sparsity == pytest.approx(dense / 2 / (4 * 9 + dense))


def test_zeros_of_activations_are_no_sparsity(tmp_path):
    class Attention(nn.Module):
        def forward(self, x):
            return torch.relu(x) @ torch.relu(-x).transpose(1, 2)

    program = load(capture(Attention(), torch.randn(1, 5, 4), tmp_path).path)
    assert count_sparsity(program.module, program.example) is None
