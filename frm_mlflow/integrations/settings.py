"""How a model in a training script or an evaluation is benchmarked; MLflow imports this for each evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from frm_mlflow.config import AttachConfig


@dataclass(frozen=True, kw_only=True)
class FrmSettings:
    """The keyword arguments of `log_frm`, autolog and the callbacks, which are also the evaluator's settings.

    Only `log_frm` and the evaluator measure with the protocol `default`; the others use `quick` unless told otherwise.
    """

    device: str = "auto"
    """A name in `conf/device/`; `auto` recognises this machine."""
    baseline: str = "resnet50"
    """Reference model for the ratios, by its name in the zoo."""
    runtime: str = "onnxruntime"
    """Runtime that runs the export: onnxruntime, torch_export, torchscript, openvino, ..."""
    measure: str = "default"
    """Name of the protocol in `conf/measure/`: quick (seconds), default, paper, rigorous."""
    batch_size: int = 1
    """Number of samples per call; the example is truncated or repeated to this size."""
    name: str | None = None
    """Name of the model in the result; by default its class."""
    prefix: str = ""
    """Prefix of every metric and tag key."""
    overrides: Sequence[str] = ()
    """Additional settings as on the command line: ["measure.runs=50", "runtime.threads=1"]."""

    @classmethod
    def in_training(cls, **settings: Any) -> FrmSettings:
        """Return the settings of a hook in a training script, which measures with the protocol that takes seconds."""
        return cls(**{"measure": "quick"} | settings)

    def at(self, tracking_uri: str | None) -> FrmSettings:
        """Return the settings with another tracking server, if one is given."""
        if tracking_uri is None:
            return self
        return replace(self, overrides=(*self.overrides, f"tracking.uri='{tracking_uri}'"))

    def config(self) -> AttachConfig:
        """Return the validated settings from the files in `conf/` that these names select.

        Raises
        ------
        ConfigError
            If a key is unknown; for an unknown name, Hydra's error lists the valid ones.
        """
        from frm_mlflow.config import AttachConfig, checked
        from frm_mlflow.sweep.compose import composed

        groups = ("device", "baseline", "runtime", "measure", "batch_size")
        words = [f"{group}={getattr(self, group)}" for group in groups]
        return checked(AttachConfig, composed("attach", [*words, *self.overrides]), where="settings")
