"""Hydra's configuration groups; a package, so that `pkg://frm_mlflow.conf` finds them in a wheel, too."""
