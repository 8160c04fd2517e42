"""`python -m frm_mlflow.worker`: serve requests from standard input until `close` or its end.

With arguments it runs a command at the remote end of a connection (`remote.py`).
"""

from __future__ import annotations

import os
import sys

from .parent import die_with_parent


def main() -> int:
    """Serve, or run the command given by the arguments."""
    if len(sys.argv) == 1:
        return serve_standard_streams()
    from . import remote

    return remote.main(sys.argv[1:], serve=serve_standard_streams)


def serve_standard_streams() -> int:
    """Reserve the real standard output for replies and send everything else to standard error."""
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # ONNX Runtime would send telemetry from a thread
    die_with_parent()
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    from .service import Worker, serve

    serve(Worker(), requests=sys.stdin, replies=replies)
    return 0


if __name__ == "__main__":
    sys.exit(main())
