"""Keeps a run's folder to one training at a time. Must not import torch."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

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

    The lock is a file in the nearest folder above that is there, which whoever shares the run shares as well; where
    none can be made, nothing is held, and the run cannot be written either. A training that began before that folder
    was there holds a file further up. Raises `RunInUse`.
    """
    whole = directory.resolve()
    path, *further_up = (_lock_file(whole, folder) for folder in whole.parents if folder.is_dir())
    try:
        for other in further_up:
            if other.exists():
                _release(other, _lock(other))
        file = _lock(path)
    except BlockingIOError as error:
        raise RunInUse(directory) from error
    except OSError:
        file = None
    try:
        yield
    finally:
        _release(path, file)


def _lock_file(run: Path, folder: Path) -> Path:
    digest = hashlib.sha256(os.fsencode(run.relative_to(folder))).hexdigest()[:16]
    return folder / f".linnet-run-{digest}.lock"


def _release(path: Path, file: IO[str] | None) -> None:
    if file is not None:
        path.unlink(missing_ok=True)
        file.close()


def _lock(path: Path) -> IO[str] | None:
    """Return the open file that holds the lock; raises `BlockingIOError` where another process does."""
    while fcntl is not None:
        file = path.open("a")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if path.exists() and path.stat().st_ino == os.fstat(file.fileno()).st_ino:
                return file
        except BaseException:
            file.close()
            raise
        file.close()  # whoever held it has removed it meanwhile
    return None
