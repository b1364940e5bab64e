"""The root of every error that Linnet raises on purpose, and the errors of the core.

Each class builds its own sentence from its arguments: what happened, where, and what to do. The other rooms derive
their errors in an `errors.py` of their own. What an error means to a terminal (exit code) or to HTTP (status) is
decided there, not here.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path


def first_line(error: Exception, most: int = 160) -> str:
    """Return the first line of another library's message, or the error's class where it has none."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:most]


class LinnetError(Exception):
    """Any failure that a user can understand and act on; `str(error)` is the sentence to show."""


class UsageError(LinnetError):
    """The request itself is wrong (an argument, a recipe, a setting); the command line exits with 2."""


class GateError(LinnetError):
    """A quality gate did not hold, so nothing was written; the command line exits with 3."""


class Stopped(LinnetError):
    """The person at the terminal stopped the command; the command line exits with 130, as shells have it."""


class MissingExtra(LinnetError):
    """A command needs packages of an extra that is not installed."""

    def __init__(self, command: str, module: str, extra: str) -> None:
        super().__init__(
            f"`linnet {command}` needs {module}, which is not installed here: install the {extra!r} requirements "
            f"(`make install`, or `pip install -e '.[{extra}]'`)."
        )


class PathNotFound(UsageError):
    """A file or folder named by the user does not exist."""

    def __init__(self, path: Path, what: str) -> None:
        super().__init__(f"There is no {what} at {path}: check the path.")


class ImageError(LinnetError):
    """Bytes that cannot become an input of the network."""


class UnsupportedImage(ImageError):
    """The bytes are not of an image format that is accepted."""

    def __init__(self, formats: Sequence[str]) -> None:
        super().__init__(f"This is not an image of an accepted format: send one of {', '.join(formats)}.")


class UnreadableImage(ImageError):
    """The format is accepted but the image is damaged or of a kind that has no RGB meaning."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"The image cannot be read ({reason}): save it again as an ordinary JPEG or PNG.")


class ImageTooLarge(ImageError):
    """The image has more pixels than the limit; decided from the header, before decoding."""

    def __init__(self, limit_px: int) -> None:
        super().__init__(f"The image has more than {limit_px:,} pixels: scale it down first.")


class BundleError(LinnetError):
    """A bundle cannot be used as it is."""


class BundleNotFound(BundleError):
    """The folder holds no bundle."""

    def __init__(self, directory: Path) -> None:
        super().__init__(f"There is no bundle at {directory}: name a folder that holds bundle.json.")


class InvalidManifest(BundleError):
    """bundle.json is not JSON or does not follow the schema."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"The manifest {path} is not valid ({reason}): export the run again.")


class CorruptBundle(BundleError):
    """A file of the bundle is missing or is not the one that was measured."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"The bundle file {path} {reason}: copy the bundle again or export the run again.")


class BundleMismatch(BundleError):
    """The network in the bundle does not have the inputs, outputs or classes that the manifest states."""

    def __init__(self, directory: Path, reason: str) -> None:
        super().__init__(f"The bundle {directory} contradicts its manifest ({reason}): export the run again.")


class SelfTestFailed(BundleError):
    """The network answers the stored inputs differently on this machine than where it was measured."""

    def __init__(self, directory: Path, variant: str, difference: float, tolerance: float) -> None:
        self.difference = difference
        self.tolerance = tolerance
        super().__init__(
            f"The {variant} variant of the bundle {directory} fails its self-test here: probabilities differ by "
            f"{difference:.2g} where {tolerance:.2g} is allowed; use another variant or another machine."
        )


class VariantMissing(BundleError):
    """The bundle has no variant of the precision that was asked for."""

    def __init__(self, directory: Path, wanted: str, there: Sequence[str]) -> None:
        super().__init__(
            f"The bundle {directory} has no {wanted} variant (it has {', '.join(there)}): choose one that is there, "
            "'auto', or export the run again with the variant."
        )


class BundleExists(BundleError):
    """The version to be written is already there; bundles are never overwritten."""

    def __init__(self, directory: Path) -> None:
        super().__init__(f"The bundle {directory} exists already: choose another version or remove it first.")


class ProviderUnavailable(LinnetError):
    """The execution provider that was asked for is not active on the created session."""

    def __init__(self, wanted: str, active: Sequence[str]) -> None:
        super().__init__(
            f"ONNX Runtime does not run on {wanted} here (active: {', '.join(active)}): install the matching "
            "onnxruntime package and driver, or choose provider 'cpu'."
        )
