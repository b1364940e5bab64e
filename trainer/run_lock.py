"""Keeps a run's folder to one training at a time, of those of one user on one machine. Must not import torch."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from linnet.errors import UsageError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]


class RunInUse(UsageError):
    """Another training writes there at this moment."""

    def __init__(self, directory: Path) -> None:
        super().__init__(f"Another training is writing to {directory}: wait for it, or choose another with --run DIR.")


@contextmanager
def sole_writer(directory: Path) -> Iterator[None]:
    """Hold the folder, which need not exist yet, against other trainings; the system lets go when a process ends.

    Raises `RunInUse`.
    """
    if fcntl is None:
        yield
        return
    digest = hashlib.sha256(os.fsencode(directory.resolve())).hexdigest()[:16]
    with (Path(tempfile.gettempdir()) / f"linnet-run-{os.getuid()}-{digest}.lock").open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise RunInUse(directory) from error
        yield
