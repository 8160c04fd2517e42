"""Run `mlflow.models.evaluate` with MLflow's default evaluator and frm-mlflow's side by side.

Run it: python examples/evaluate_model.py
"""

from __future__ import annotations

import mlflow
import mlflow.pytorch
import pandas as pd
import torch
from digits import tensors
from torch import nn

images, labels = tensors()
rows, digits = images.flatten(1), labels.float()
model = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 1), nn.Flatten(0))
optimiser = torch.optim.Adam(model.parameters(), lr=1e-2)
for _ in range(100):
    optimiser.zero_grad()
    nn.functional.mse_loss(model(rows), digits).backward()
    optimiser.step()

mlflow.set_experiment("examples")
with mlflow.start_run(run_name="evaluate"):
    logged = mlflow.pytorch.log_model(
        model.eval(),
        name="digits_regressor",
        input_example=rows[:2].numpy(),
        pip_requirements=["torch", "pandas"],  # otherwise MLflow loads the model again to detect its imports
    )
    result = mlflow.models.evaluate(
        logged.model_uri,
        pd.DataFrame(rows.numpy()).assign(digit=digits.numpy()),
        targets="digit",
        model_type="regressor",
        evaluators=["default", "frm"],
        evaluator_config={
            "default": {"log_model_explainability": False},
            "frm": {"baseline": "mobilenet_v3_small", "measure": "quick"},
        },
    )

print({key: result.metrics[key] for key in ("r2_score", "frm", "ratio/latency")})
