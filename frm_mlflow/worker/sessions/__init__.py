"""One session class per runtime; a runtime is imported only when its session is opened."""

from __future__ import annotations

from importlib import import_module

from .base import Session, SessionError, Target

SESSIONS = {
    "torch": ".torch_eager:TorchSession",
    "torch_compile": ".torch_compiled:TorchCompileSession",
    "torch_export": ".torch_export:TorchExportSession",
    "torchscript": ".torch_script:TorchScriptSession",
    "onnxruntime": ".onnx_runtime:OnnxRuntimeSession",
    "tensorrt": ".onnx_runtime:TensorRtSession",
    "openvino": ".open_vino:OpenVinoSession",
    "litert": ".lite_rt:LiteRtSession",
    "executorch": ".execu_torch:ExecuTorchSession",
}
"""Maps each runtime to its module and class, relative to this package."""


def open_session(runtime: str, target: Target) -> Session:
    """Import the runtime and return its session, without a model loaded.

    Raises
    ------
    SessionError
        If the runtime is unknown (`unsupported`) or not installed (`missing_package`).
    """
    if runtime not in SESSIONS:
        raise SessionError(f"unknown runtime '{runtime}', known: {', '.join(sorted(SESSIONS))}", kind="unsupported")
    module, _, name = SESSIONS[runtime].partition(":")
    try:
        session_class = getattr(import_module(module, __package__), name)
    except ModuleNotFoundError as error:
        package = (error.name or runtime).partition(".")[0]
        raise SessionError(
            f"runtime '{runtime}' needs the package '{package}'", kind="missing_package", package=package
        ) from error
    session: Session = session_class(target)
    return session
