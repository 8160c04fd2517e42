"""`python -m frm_mlflow.worker`: serve requests from standard input until `close` or its end."""

from __future__ import annotations

import os
import sys

from .parent import die_with_parent
from .service import Worker, serve


def main() -> int:
    """Keep the real standard output for replies and send everything else to standard error."""
    die_with_parent()
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    serve(Worker(), requests=sys.stdin, replies=replies)
    return 0


if __name__ == "__main__":
    sys.exit(main())
