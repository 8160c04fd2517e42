"""`frm-mlflow gate`: may this model be shipped to that device? Evidence, its wall times, and the verdict."""
