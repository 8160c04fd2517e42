"""Import other tools' results as benchmark records with their provenance; see `contract` to write an importer."""

from frm_mlflow.importers.contract import Importer, LeftOut, Row
from frm_mlflow.importers.read import Import, importers, read

__all__ = ["Import", "Importer", "LeftOut", "Row", "importers", "read"]
