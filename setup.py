"""Which packages are shipped: all of the tree, with `conf/` and `runners/` placed inside `frm_mlflow`."""

from setuptools import find_namespace_packages, find_packages, setup

FOLDERS = {"frm_mlflow": "frm_mlflow", "frm_mlflow.conf": "conf", "frm_mlflow.runners": "runners"}
"""Folder of each top package in the checkout."""

packages = [
    ".".join(filter(None, (package, below)))
    for package, folder in FOLDERS.items()
    for below in ("", *find_packages(folder))
]
# Hydra searches the namespace package `hydra_plugins`, which must not have an `__init__.py`.
packages += find_namespace_packages(include=["hydra_plugins.*"])

setup(packages=packages, package_dir=FOLDERS)
