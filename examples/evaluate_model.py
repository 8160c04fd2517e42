"""`mlflow.models.evaluate` with MLflow's own evaluator and frm-mlflow's side by side.

Run it: python examples/evaluate_model.py
"""

from __future__ import annotations

import mlflow
import mlflow.onnx
import numpy as np
import pandas as pd
from mlflow.models import infer_signature
from skl2onnx import to_onnx
from sklearn.datasets import load_digits
from sklearn.neural_network import MLPClassifier

digits = load_digits()
images = (digits.data / 16).astype(np.float32)
classifier = MLPClassifier(hidden_layer_sizes=(64,), max_iter=30, random_state=0).fit(images, digits.target)

mlflow.set_experiment("examples")
with mlflow.start_run(run_name="evaluate"):
    logged = mlflow.onnx.log_model(
        to_onnx(classifier, images[:1], options={"zipmap": False}),
        name="digits_mlp",
        signature=infer_signature(images, classifier.predict(images)),
    )
    result = mlflow.models.evaluate(
        logged.model_uri,
        pd.DataFrame(images).assign(target=digits.target),
        targets="target",
        predictions="label",
        model_type="classifier",
        evaluators=["default", "frm"],
        evaluator_config={
            "default": {"log_model_explainability": False},
            "frm": {"baseline": "mobilenet_v3_small", "measure": "quick"},
        },
    )

print({key: result.metrics[key] for key in ("accuracy_score", "frm", "ratio/latency")})
