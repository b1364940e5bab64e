"""What keeps the service from starting, each with the sentence its operator reads.

Must not import a web framework.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path

from linnet.errors import LinnetError, UsageError


class UnknownSetting(UsageError):
    """An environment variable with our prefix that no setting reads, most likely a typing error."""

    def __init__(self, variable: str, known: Sequence[str]) -> None:
        close = difflib.get_close_matches(variable, known, n=1)
        hint = f"did you mean {close[0]}?" if close else f"the settings are {', '.join(known)}."
        super().__init__(f"There is no setting {variable}: {hint}")


class InvalidSetting(UsageError):
    """A setting has a value that cannot be used."""

    def __init__(self, variable: str, reason: str) -> None:
        super().__init__(f"The setting {variable} cannot be used ({reason}): correct or unset it.")


class UnreadableKeys(UsageError):
    """The file of API keys that a setting names cannot be read or holds none."""

    def __init__(self, variable: str, path: Path, reason: str) -> None:
        super().__init__(f"The file {path} of the setting {variable} cannot be used ({reason}): write a key per line.")


class CannotListen(LinnetError):
    """The address cannot be bound."""

    def __init__(self, host: str, port: int, reason: str) -> None:
        super().__init__(
            f"Cannot listen on {host}:{port} ({reason}): stop what uses it or choose another port or host."
        )


class WorkerFailed(LinnetError):
    """A worker ended before it served."""

    def __init__(self, status: int) -> None:
        super().__init__(f"A worker could not start (exit status {status}): see the message it wrote above.")
