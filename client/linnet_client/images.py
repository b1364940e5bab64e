"""Turns whatever a program holds of an image into the bytes of a file.

`take` holds an image as it is at that moment, `Taken.read` encodes it when its turn comes. Pillow images and NumPy
arrays are known by their shape, so that neither library has to be installed.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any, NoReturn, Protocol, TypeAlias, Union, runtime_checkable

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

    def copy(self) -> Any:
        """Return another image with its pixels, which are decoded where they have not been."""

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


@dataclass(frozen=True)
class Taken:
    """An image that stays as it is, whatever becomes of the object that it was taken from."""

    name: str | None
    """What results call it: its path, or the name of a file object."""
    is_small: bool
    """Whether it is known, without being read, to be so small that it may share a request with others."""
    encode: Callable[[], bytes]

    def read(self) -> Picture:
        """Return the bytes of a file: its own where there is one, otherwise encoded without loss.

        Raises `OSError` where a file cannot be read, `TypeError` for what is no image.
        """
        return Picture(self.encode(), self.name)


def take(source: ImageSource) -> Taken:
    """Hold an image as it is now; what is wrong with it is raised by `Taken.read`.

    Pixels are copied and open files read; what `stays` is left to be read when its turn comes.
    """
    try:
        return _hold(source)
    except Exception as error:  # a file of the user's own may raise anything
        return Taken(_name_of(source), False, partial(_raise, error))


def stays(source: ImageSource) -> bool:
    """Tell whether an image will be the same when its turn comes: a path, bytes, or what opens its file itself.

    That last is an object with `read` and without `close`: there is nothing that could be closed before.
    """
    if isinstance(source, (str, os.PathLike, bytes)):
        return True
    return isinstance(source, BinaryFile) and not hasattr(source, "close")


def read_image(source: ImageSource) -> Picture:
    """Return the bytes of an image; raises as `Taken.read` does."""
    return take(source).read()


def _hold(source: ImageSource) -> Taken:
    if isinstance(source, (str, os.PathLike)):
        path = Path(source)
        return Taken(os.fspath(source), _is_small_file(path), path.read_bytes)
    if isinstance(source, (bytes, bytearray, memoryview)):
        return _held(bytes(source), None)
    if isinstance(source, PillowImage):
        exif = source.getexif()  # before the copy, which has none; the object is the image's own, its bytes are not
        encode = partial(_encode_pillow, exif=exif.tobytes() if exif else b"", image=source.copy())
        return Taken(getattr(source, "filename", None) or None, False, encode)
    if isinstance(source, PixelArray):
        height, width, channels = _shape_of(source)
        encode = partial(encode_png, source.tobytes(), height, width, channels)
        return Taken(None, math.prod(source.shape) <= SMALL_BYTES, encode)
    if isinstance(source, BinaryFile):
        if stays(source):
            return Taken(_name_of(source), False, partial(_read_file, source))
        return _held(_read_file(source), _name_of(source))
    raise TypeError(
        f"A {type(source).__name__} is no image: pass a path, bytes, a file opened in binary mode, a PIL.Image or a "
        "NumPy array."
    )


def _held(data: bytes, name: str | None) -> Taken:
    return Taken(name, len(data) <= SMALL_BYTES, lambda: data)


def _raise(error: Exception) -> NoReturn:
    raise error


def _name_of(source: ImageSource) -> str | None:
    if isinstance(source, (str, os.PathLike)):
        return os.fspath(source)
    name = getattr(source, "name", None)
    return name if isinstance(name, str) else None


def _is_small_file(path: Path) -> bool:
    try:
        return path.stat().st_size <= SMALL_BYTES
    except OSError:
        return False  # whoever reads it says why


def _read_file(file: BinaryFile) -> bytes:
    data: object = file.read()
    if not isinstance(data, bytes):
        raise TypeError(f"The file gives {type(data).__name__} instead of bytes: open it in binary mode ('rb').")
    return data


def _encode_pillow(image: PillowImage, exif: bytes) -> bytes:
    """Encode with the EXIF data: a photo opened with Pillow is turned upright by the service, as its file would be."""
    buffer = BytesIO()
    if image.mode == "CMYK":
        image.save(buffer, format="TIFF", compression="tiff_lzw", exif=exif)
    else:
        plain = image if image.mode in _PNG_MODES else image.convert("RGB")
        plain.save(buffer, format="PNG", compress_level=1, exif=exif)
    return buffer.getvalue()


def _shape_of(array: PixelArray) -> tuple[int, int, int]:
    shape = array.shape if len(array.shape) == 3 else (*array.shape, 1)
    if len(shape) != 3 or shape[2] not in COLOUR_TYPES or 0 in shape or str(array.dtype) != "uint8":
        raise TypeError(
            f"An array of {array.dtype} {list(array.shape)} is no image: pass uint8 of shape [height, width] or "
            "[height, width, channels] with 1 to 4 channels."
        )
    height, width, channels = shape
    return height, width, channels
