"""The catalogue through every runtime and precision on the CPU: confirms the table in docs/runtimes.md."""

from __future__ import annotations

import numpy as np
import pytest

from frm_mlflow.config import ModelConfig, PrecisionConfig
from frm_mlflow.export import precisions
from frm_mlflow.export.pack import pack
from frm_mlflow.export.request import ExportRequest
from frm_mlflow.measure.tolerance import TOLERANCES
from frm_mlflow.worker.identity import agreement
from frm_mlflow.worker.manifest import REFERENCE_NAME, ExportedModel
from frm_mlflow.worker.runtimes import RUNTIMES
from frm_mlflow.worker.sessions import open_session
from frm_mlflow.worker.sessions.base import Target
from frm_mlflow.zoo.catalogue import CATALOGUE

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

CALIBRATION_SAMPLES = 16
CASES = [(r, p, m) for r in RUNTIMES if r != "torch_compile" for p in precisions(r) for m in CATALOGUE]


@pytest.mark.parametrize(("runtime", "precision", "model"), CASES, ids=lambda value: value)
def test_the_exported_model_computes_the_reference(runtime, precision, model, tmp_path):
    if (runtime, precision) == ("openvino", "bf16"):
        pytest.skip("needs a processor with bfloat16 arithmetic")
    settings = PrecisionConfig(name=precision, calibration_samples=CALIBRATION_SAMPLES)
    config = ModelConfig(name=model, source=CATALOGUE[model].source)
    pack(ExportRequest(model=config, runtime=runtime, precision=settings, batch_size=1), tmp_path)
    exported_model = ExportedModel.read(tmp_path)
    reference = np.load(tmp_path / REFERENCE_NAME)
    session = open_session(runtime, Target(threads=1))
    session.warm(exported_model)
    session.load(tmp_path, exported_model)
    session.prepare([reference["input_0"]])
    session.run()
    found = agreement(session.outputs(), [reference["output_0"]])
    assert found.cosine >= TOLERANCES[precision].cosine
    assert found.max_rel_error <= TOLERANCES[precision].max_rel_error
