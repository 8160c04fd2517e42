"""A scikit-learn forest converted by skl2onnx with its defaults: the output is a sequence of maps."""

import mlflow
import mlflow.onnx
import numpy as np
from common import FAST
from skl2onnx import to_onnx
from sklearn.ensemble import RandomForestClassifier

import frm_mlflow

frm_mlflow.autolog(**FAST)
rows = np.random.default_rng(0).standard_normal((64, 4)).astype(np.float32)
forest = RandomForestClassifier(5, max_depth=3, random_state=0).fit(rows, rows[:, 0] > 0)
with mlflow.start_run():
    mlflow.onnx.log_model(to_onnx(forest, rows[:1]), name="forest", pip_requirements=["onnxruntime"])
