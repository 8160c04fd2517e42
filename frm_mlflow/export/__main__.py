"""The export process: `python -m frm_mlflow.export DIRECTORY` writes an exported model there."""

from __future__ import annotations

import json
import os
import sys
import traceback
from pathlib import Path

from frm_mlflow.errors import ExportError, FrmError
from frm_mlflow.export.pack import pack
from frm_mlflow.export.process import ERROR_NAME, REQUEST_NAME
from frm_mlflow.export.request import ExportRequest
from frm_mlflow.worker.parent import die_with_parent


def main(directory: Path) -> int:
    """Run the export that the directory's request file describes; write any exception to its error file."""
    request = ExportRequest.from_json((directory / REQUEST_NAME).read_text())
    try:
        pack(request, directory)
    except FrmError as error:
        return _report(directory, error)
    except Exception as error:  # converters raise anything
        traceback.print_exc()
        reason = " ".join(str(error).split())[:600]
        message = f"{request.runtime} cannot take '{request.model.name}' in {request.precision.name}: "
        return _report(directory, ExportError(f"{message}{type(error).__name__}: {reason}"))
    return 0


def _report(directory: Path, error: FrmError) -> int:
    content = {"kind": type(error).__name__, "message": str(error)}
    (directory / ERROR_NAME).write_text(json.dumps(content))
    return 1


if __name__ == "__main__":
    die_with_parent()
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    sys.exit(main(Path(sys.argv[1])))
