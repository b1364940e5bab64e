"""Writing files whole or not at all, on disks that may be full. Must not import torch."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from trainer.errors import DiskFull

FULL_DISK_ADVICE = "free some and continue with --resume"


def check_space(folder: Path, needed_bytes: int, advice: str) -> None:
    """Raise `DiskFull` unless the disk of `folder`, which need not exist yet, has that much space left."""
    existing = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    free = shutil.disk_usage(existing).free
    if free < needed_bytes:
        raise DiskFull(folder, f"{needed_bytes / 1e6:,.0f} MB are needed, {free / 1e6:,.0f} MB are free", advice)


def replace_file(path: Path, content: bytes, advice: str = FULL_DISK_ADVICE) -> None:
    """Write a file in one step, or leave what was there. Raises `DiskFull`."""
    with replacing(path, path.with_name(f".{path.name}"), advice) as staging:
        staging.write_bytes(content)


@contextmanager
def replacing(path: Path, staging: Path, advice: str) -> Iterator[Path]:
    """Yield `staging` to write to, and rename it to `path` once it is whole; a failure removes it.

    Raises `DiskFull`, which says `advice`.
    """
    try:
        yield staging
        staging.replace(path)
    except BaseException as error:
        staging.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise DiskFull(path.parent, str(error.strerror), advice) from error
        raise
