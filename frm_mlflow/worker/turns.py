"""Lock for measuring on a device: one process at a time, on the machine that has the device.

The lock is a file lock (`flock`), which the system releases when its process ends for any reason. All users and homes
on a machine share the file.
"""

from __future__ import annotations

import os
import re
import stat
import sys
import tempfile
from pathlib import Path

if sys.platform != "win32":
    import fcntl

FOLDER_VARIABLE = "FRM_MLFLOW_LOCKS"
SHARED_MEMORY = "/dev/shm"  # noqa: S108 - a fixed name, so that all users share the lock  # nosec B108
_LONGEST_NAME = 500


class Turn:
    """Exclusive use of a device by this process until `end`."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def end(self) -> None:
        """Release the device to the next process."""
        if self._descriptor >= 0:
            os.ftruncate(self._descriptor, 0)
            os.close(self._descriptor)
        self._descriptor = -1


def take(device: str, holder: str) -> Turn | str:
    """Return the turn on `device`, or its current holder.

    Parameters
    ----------
    device
        Identifier of the physical device, the same for all callers.
    holder
        Text that other processes print while they wait.

    Raises
    ------
    OSError
        If no lock can be created here.
    """
    descriptor = _opened(lock_file(device))
    if sys.platform == "win32":
        return Turn(descriptor)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        words = os.pread(descriptor, _LONGEST_NAME, 0).decode(errors="replace")
        os.close(descriptor)
        return "".join(char for char in words if char.isprintable()) or "another process"
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, holder.encode()[:_LONGEST_NAME], 0)
    return Turn(descriptor)


def lock_file(device: str) -> Path:
    """Return the file whose lock is the turn on `device`."""
    named = os.environ.get(FOLDER_VARIABLE)
    folder = named or (SHARED_MEMORY if os.access(SHARED_MEMORY, os.W_OK) else tempfile.gettempdir())
    Path(folder).mkdir(parents=True, exist_ok=True)
    return Path(folder) / f"frm-mlflow-{re.sub(r'[^A-Za-z0-9_.-]', '_', device)[:100]}.lock"


def _opened(path: Path) -> int:
    """Open the file for all users; a system may forbid opening another user's file with the create flag."""
    flags = os.O_RDWR | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
    try:
        descriptor = os.open(path, flags)
    except FileNotFoundError:
        descriptor = os.open(path, flags | os.O_CREAT, 0o666)
        if os.fstat(descriptor).st_uid == getattr(os, "getuid", lambda: -1)():
            os.chmod(path, 0o666)  # noqa: S103, PTH101 - every user of the machine takes turns  # nosec B103
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(f"{path} is not a plain file")
    return descriptor
