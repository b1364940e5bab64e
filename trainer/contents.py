"""What image files hold, as a digest of each: names and sizes do not tell photos apart, nor find duplicates.

Must not import torch.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from linnet.cpu import usable_cpus
from trainer.errors import UnreadableFiles


def digest_files(paths: Sequence[Path]) -> dict[Path, str]:
    """Return the SHA-256 of each file, in hexadecimal. Raises `UnreadableFiles`, after all files were tried."""
    failures: dict[Path, str] = {}

    def digest(path: Path) -> str:
        try:
            return hashlib.sha256(path.read_bytes()).hexdigest()
        except OSError as error:
            failures[path] = error.strerror or type(error).__name__
            return ""

    with ThreadPoolExecutor(usable_cpus()) as pool:
        digests = dict(zip(paths, pool.map(digest, paths, chunksize=64), strict=True))
    if failures:
        unreadable = sorted(failures)
        raise UnreadableFiles(unreadable, f"{failures[unreadable[0]]}.")
    return digests
