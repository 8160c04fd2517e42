"""Which network should I ship on hardware that I cannot all measure: benchmarks, FRM and prediction for MLflow.

Importing this package is cheap on purpose: MLflow imports it for its plugin hooks, and a
worker on a Jetson imports it without torch, mlflow or pandas being there.
"""

__version__ = "0.1.0"
