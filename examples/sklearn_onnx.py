"""Convert a scikit-learn network to ONNX and log it with `mlflow.onnx`; `autolog` benchmarks it once.

Run it: python examples/sklearn_onnx.py
"""

from __future__ import annotations

import mlflow
import mlflow.onnx
import numpy as np
from skl2onnx import to_onnx
from sklearn.datasets import load_digits
from sklearn.neural_network import MLPClassifier

import frm_mlflow

frm_mlflow.autolog(baseline="mobilenet_v3_small")

digits = load_digits()
images = (digits.data / 16).astype(np.float32)
classifier = MLPClassifier(hidden_layer_sizes=(64,), max_iter=30, random_state=0).fit(images, digits.target)
network = to_onnx(classifier, images[:1], options={"zipmap": False})

mlflow.set_experiment("examples")
with mlflow.start_run(run_name="scikit-learn through ONNX"):
    mlflow.log_metric("accuracy", classifier.score(images, digits.target))
    mlflow.onnx.log_model(network, name="digits_mlp")
