"""Why an export ends without a bundle."""

from __future__ import annotations

from pathlib import Path

from linnet.errors import GateError, LinnetError, UsageError


class ParityFailed(GateError):
    """The ONNX file does not answer as the trained network does."""

    def __init__(self, what: str, measured: str, allowed: str) -> None:
        super().__init__(
            f"The parity gate failed: {what} is {measured} where {allowed} is required; no bundle was written. "
            "Report the run's backbone and library versions, or train again with other versions."
        )


class DataChanged(LinnetError):
    """The images are not the ones the run was trained and tested on."""

    def __init__(self, path: Path) -> None:
        super().__init__(
            f"The images in {path} are not the ones this run was tested on: restore them, or train on what is there."
        )


class InvalidModelName(UsageError):
    """The name cannot be that of a folder and of a model in a URL."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"The name {name!r} cannot be that of a model: use up to 64 lower-case letters, digits, '.', '_' or '-', "
            "beginning with a letter or digit."
        )
