"""File names that will be stated somewhere: in a row, a report, a digest. Must not import torch or a web framework."""

from __future__ import annotations

import os
from pathlib import Path

from linnet.errors import LinnetError


class NameNotText(LinnetError):
    """A file or folder has a name that is not UTF-8, as archives of old systems leave them."""

    def __init__(self, path: Path) -> None:
        shown = os.fsencode(path).decode("utf-8", "backslashreplace")
        super().__init__(
            f"The name of {shown} is not UTF-8 and cannot be stated: rename it; `convmv -f latin1 -t utf8 -r --notest` "
            "does it for whole folders."
        )


def require_text(path: Path) -> Path:
    """Return the path, or raise `NameNotText`."""
    try:
        str(path).encode()
    except UnicodeEncodeError as error:
        raise NameNotText(path) from error
    return path
