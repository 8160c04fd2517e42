"""Hold Hydra's configuration groups, as a package so that `pkg://frm_mlflow.conf` also works from a wheel."""
