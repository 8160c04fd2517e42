"""A record has the values that the worker reports; a worker that runs elsewhere is rejected."""

from __future__ import annotations

import pytest

from frm_mlflow.config import RuntimeConfig
from frm_mlflow.devices import Device
from frm_mlflow.devices.placement import check, worker_target
from frm_mlflow.errors import DeviceMismatchError

UUID = "GPU-0000ABCD-aaaa-bbbb-cccc-dddddddddddd"
A100 = Device("a100", "gpu", "cuda", "NVIDIA A100-SXM4-80GB", "gpu", 1, UUID, UUID)
CPU = Device("cpu", "cpu", "cpu", "AMD EPYC 7763", "cpu")
INTEL_NPU = Device("mine", "edge", "cpu", "Intel Core Ultra 7", "npu")


def reply(kind: str, unit: str, provider: str, *, precision="fp32", nodes=None, uuid=""):
    card = {"name": "NVIDIA A100-SXM4-80GB", "uuid": uuid} if uuid else None
    placement = {"kind": kind, "unit": unit, "provider": provider, "nodes": nodes}
    return {"placement": placement, "precision": precision, "card": card}


CUDA_REPLY = ("cuda", "gpu", "CUDAExecutionProvider")


@pytest.mark.parametrize(
    ("device", "options", "answer", "words"),
    [
        (A100, {"provider": "cpu"}, ("cpu", "cpu", "CPUExecutionProvider"), "remove runtime.options.provider=cpu"),
        (CPU, {"provider": "cuda"}, CUDA_REPLY, "remove runtime.options.provider=cuda"),
        (CPU, {"device": "GPU"}, ("other", "gpu", "GPU"), "remove runtime.options.device=GPU"),
        (CPU, {"device": "NPU"}, ("other", "npu", "NPU"), "a processor (AMD EPYC 7763)"),
        (INTEL_NPU, {"device": "CPU"}, ("cpu", "cpu", "CPU"), "an NPU (Intel Core Ultra 7)"),
        (A100, {}, ("other", "mixed", "cpu, cuda:0"), "several units"),
    ],
)
def test_a_model_that_runs_elsewhere_is_refused(device, options, answer, words):
    with pytest.raises(DeviceMismatchError) as caught:
        check(device, RuntimeConfig("onnxruntime", options=options), reply(*answer), precision="fp32")
    assert words in str(caught.value)


def test_what_is_recorded_is_what_the_worker_reports():
    nodes = {"gpu": 120, "cpu": 3}
    placed = check(A100, RuntimeConfig("onnxruntime"), reply(*CUDA_REPLY, nodes=nodes), precision="fp32")
    assert (placed.unit, placed.provider, placed.precision) == ("gpu", "CUDAExecutionProvider", "fp32")
    assert placed.layers == "cpu=3 gpu=120"
    on_npu = check(INTEL_NPU, RuntimeConfig("openvino"), reply("other", "npu", "NPU"), precision="fp32")
    assert (on_npu.unit, on_npu.layers) == ("npu", "")


@pytest.mark.parametrize(
    ("options", "refused"), [({}, True), ({"least_share": 0.7}, False), ({"least_share": 0.76}, True)]
)
def test_too_many_nodes_elsewhere_are_refused(options, refused):
    answer = reply(*CUDA_REPLY, nodes={"gpu": 75, "cpu": 25})
    runtime = RuntimeConfig("onnxruntime", options=options)
    if refused:
        with pytest.raises(DeviceMismatchError, match=r"75 of the network's 100 nodes.*least_share"):
            check(A100, runtime, answer, precision="fp32")
    else:
        assert check(A100, runtime, answer, precision="fp32").nodes == {"gpu": 75, "cpu": 25}


def test_another_card_is_refused_in_any_spelling_of_its_uuid():
    same = reply(*CUDA_REPLY, uuid=UUID.removeprefix("GPU-").lower())
    assert check(A100, RuntimeConfig("torch"), same, precision="fp32").unit == "gpu"
    other = reply(*CUDA_REPLY, uuid="0000ffff-aaaa-bbbb-cccc-dddddddddddd")
    with pytest.raises(DeviceMismatchError, match=r"is the card GPU-0000ABCD.*device.index"):
        check(A100, RuntimeConfig("torch"), other, precision="fp32")


@pytest.mark.parametrize(("asked", "ran"), [("fp32", "tf32"), ("tf32", "fp32")])
def test_fp32_and_tf32_are_not_taken_for_each_other(asked: str, ran: str):
    with pytest.raises(DeviceMismatchError, match=f"precision={asked} was requested, but torch runs {ran}"):
        check(A100, RuntimeConfig("torch"), reply(*CUDA_REPLY, precision=ran), precision=asked)


def test_a_worker_is_given_the_one_card():
    target = worker_target(A100, RuntimeConfig("torch"), threads=2, precision="tf32")
    assert (target["device"], target["index"], target["selector"], target["precision"]) == ("cuda", 0, UUID, "tf32")
    on_jetson = Device("cuda", "gpu", "cuda", "Orin (nvgpu)", "gpu", 1, "", "")
    assert worker_target(on_jetson, RuntimeConfig("torch"), threads=2, precision="")["index"] == 1
