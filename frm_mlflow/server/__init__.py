"""The /frm page on an MLflow server: `mlflow server --app-name frm` (and `frm-basic-auth`)."""
