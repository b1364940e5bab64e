"""Says on stderr how far a benchmark is; stdout is the result."""

from __future__ import annotations

import sys
import time

_BEGIN_S = time.monotonic()


def say(text: str) -> None:
    """Write a line with the time since the start."""
    sys.stderr.write(f"{time.monotonic() - _BEGIN_S:6.0f} s  {text}\n")
    sys.stderr.flush()
