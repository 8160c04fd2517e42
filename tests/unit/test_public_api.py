from __future__ import annotations

import subprocess
import sys

import pytest

import frm_mlflow


def test_importing_the_package_imports_nothing_heavy() -> None:
    code = (
        "import sys, frm_mlflow; dir(frm_mlflow); "
        "print(sorted({'mlflow', 'torch', 'numpy', 'pandas', 'hydra'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_public_name_has_a_home() -> None:
    assert set(frm_mlflow._HOME) == set(frm_mlflow.__all__) - {"__version__"}


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'log_fmr'"):
        frm_mlflow.log_fmr  # noqa: B018
