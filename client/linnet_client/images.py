"""Turns whatever a program holds of an image into the bytes of a file.

Pillow images and NumPy arrays are known by their shape, so that neither library has to be installed.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, Protocol, TypeAlias, Union, runtime_checkable

from linnet_client.png import COLOUR_TYPES, encode_png


@runtime_checkable
class BinaryFile(Protocol):
    """An open file, or anything else that gives its bytes; its `name` is used where it has one."""

    def read(self) -> bytes:
        """Return the rest of the bytes."""


@runtime_checkable
class PillowImage(Protocol):
    """A `PIL.Image.Image`."""

    @property
    def mode(self) -> str:
        """Return the pixel format."""

    def save(self, fp: Any, format: str | None = None, **params: Any) -> None:  # noqa: A002
        """Write the image."""

    def convert(self, mode: str) -> Any:
        """Return the image in another pixel format."""

    def getexif(self) -> Any:
        """Return the metadata, orientation included."""


@runtime_checkable
class PixelArray(Protocol):
    """A NumPy array, uint8 [H, W] or [H, W, C]."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Return the lengths of its axes."""

    @property
    def dtype(self) -> Any:
        """Return the type of its numbers."""

    def tobytes(self) -> bytes:
        """Return its numbers, the last axis fastest."""


ImageSource: TypeAlias = Union[
    str, "os.PathLike[str]", bytes, bytearray, memoryview, BinaryFile, PillowImage, PixelArray
]

# What the service calls small, too (service.engine): larger images have much work of their own.
SMALL_BYTES = 64 * 1024

# What PNG holds without a loss; CMYK goes into a TIFF, the rest is made RGB.
_PNG_MODES = frozenset({"1", "L", "LA", "P", "RGB", "RGBA", "I;16", "I;16B"})


@dataclass(frozen=True)
class Picture:
    """One encoded image and its name."""

    data: bytes
    filename: str | None


def read_image(source: ImageSource) -> Picture:
    """Return the bytes of an image: a file's own where there is a file, otherwise encoded without loss.

    Raises `OSError` where a file cannot be read, `TypeError` for what is no image.
    """
    if isinstance(source, (str, os.PathLike)):
        return Picture(Path(source).read_bytes(), os.fspath(source))
    if isinstance(source, (bytes, bytearray, memoryview)):
        return Picture(bytes(source), None)
    if isinstance(source, PillowImage):
        return Picture(_encode_pillow(source), getattr(source, "filename", None) or None)
    if isinstance(source, PixelArray):
        return Picture(_encode_array(source), None)
    if isinstance(source, BinaryFile):
        return Picture(_read_file(source), name_of(source))
    raise TypeError(
        f"A {type(source).__name__} is no image: pass a path, bytes, a file opened in binary mode, a PIL.Image or a "
        "NumPy array."
    )


def name_of(source: ImageSource) -> str | None:
    """Return what results call the image: its path, or the name of a file object."""
    if isinstance(source, (str, os.PathLike)):
        return os.fspath(source)
    name = getattr(source, "name", None)
    return name if isinstance(name, str) else None


def is_small(source: ImageSource) -> bool:
    """Tell whether an image is known, without reading it, to be so small that it may share a request with others."""
    if isinstance(source, (str, os.PathLike)):
        try:
            return Path(source).stat().st_size <= SMALL_BYTES
        except OSError:
            return False  # whoever reads it says why
    if isinstance(source, (bytes, bytearray)):
        return len(source) <= SMALL_BYTES
    return isinstance(source, PixelArray) and math.prod(source.shape) <= SMALL_BYTES


def _read_file(file: BinaryFile) -> bytes:
    data: object = file.read()
    if not isinstance(data, bytes):
        raise TypeError(f"The file gives {type(data).__name__} instead of bytes: open it in binary mode ('rb').")
    return data


def _encode_pillow(image: PillowImage) -> bytes:
    """Encode with the EXIF data: a photo opened with Pillow is turned upright by the service, as its file would be."""
    buffer = BytesIO()
    if image.mode == "CMYK":
        image.save(buffer, format="TIFF", compression="tiff_lzw", exif=image.getexif())
    else:
        plain = image if image.mode in _PNG_MODES else image.convert("RGB")
        plain.save(buffer, format="PNG", compress_level=1, exif=image.getexif())
    return buffer.getvalue()


def _encode_array(array: PixelArray) -> bytes:
    shape = array.shape if len(array.shape) == 3 else (*array.shape, 1)
    if len(shape) != 3 or shape[2] not in COLOUR_TYPES or 0 in shape or str(array.dtype) != "uint8":
        raise TypeError(
            f"An array of {array.dtype} {list(array.shape)} is no image: pass uint8 of shape [height, width] or "
            "[height, width, channels] with 1 to 4 channels."
        )
    height, width, channels = shape
    return encode_png(array.tobytes(), height, width, channels)
