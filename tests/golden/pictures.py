"""The pictures of the golden files, made from arithmetic alone, and the awkward ways to store them.

No licence, no randomness. Must not import anything of ours: what a picture means does not depend on how it is read.
"""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image

Colour = tuple[int, int, int]
Corners = tuple[Colour, Colour, Colour, Colour]  # top left, top right, bottom left, bottom right

RED, GREEN, BLUE, YELLOW = (204, 34, 34), (34, 153, 68), (34, 68, 187), (238, 204, 34)
WHITE, BLACK, MAGENTA = (255, 255, 255), (0, 0, 0), (221, 34, 204)
QUARTERS: Corners = (RED, GREEN, BLUE, YELLOW)
GREY_QUARTERS: Corners = ((40,) * 3, (110,) * 3, (180,) * 3, (240,) * 3)


def quarters(corners: Corners = QUARTERS, size: tuple[int, int] = (60, 40)) -> npt.NDArray[np.uint8]:  # [H, W, 3]
    """Return a picture with one colour in each quarter: no turn and no reflection leaves it the same."""
    width, height = size
    pixels = np.empty((height, width, 3), np.uint8)
    pixels[: height // 2, : width // 2], pixels[: height // 2, width // 2 :] = corners[0], corners[1]
    pixels[height // 2 :, : width // 2], pixels[height // 2 :, width // 2 :] = corners[2], corners[3]
    return pixels


def grey_quarters() -> npt.NDArray[np.uint8]:  # [H, W]
    """Return one grey in each quarter."""
    return quarters(GREY_QUARTERS)[..., 0]


def photo(width: int = 2400, height: int = 1600) -> npt.NDArray[np.uint8]:  # [H, W, 3]
    """Return the quarters large, under waves that are gone once the picture is scaled down."""
    y, x = np.mgrid[:height, :width].astype(np.float32)
    pixels = quarters(size=(width, height)).astype(np.float32)
    for channel, (across, down) in enumerate([(1.0, 0.3), (-0.4, 1.0), (0.7, 0.7)]):
        for period_px in (7.0, 13.0, 29.0):
            pixels[..., channel] += 11 * np.sin(2 * np.pi * (across * x + down * y) / period_px + channel)
    return pixels.clip(0, 255).astype(np.uint8)


def encode(pixels: npt.NDArray[Any] | Image.Image, file_format: str, **options: Any) -> bytes:
    """Return the picture as a file, written by Pillow."""
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    buffer = io.BytesIO()
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


def jpeg(pixels: npt.NDArray[Any] | Image.Image, **options: Any) -> bytes:
    return encode(pixels, "JPEG", **{"quality": 95, "subsampling": 0, **options})


def turned(orientation: int, file_format: str = "JPEG", **options: Any) -> bytes:
    """Store the picture so that a reader that obeys the EXIF `orientation` sees it upright."""
    upright = quarters()
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: upright.transpose(1, 0, 2)[::-1],
        7: upright.transpose(1, 0, 2)[::-1, ::-1],
        8: upright.transpose(1, 0, 2)[:, ::-1],
    }[orientation]
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    if file_format == "JPEG":
        options = {"quality": 95, "subsampling": 0}
    return encode(np.ascontiguousarray(stored), file_format, exif=exif, **options)


def broken_exif() -> bytes:
    """Return a JPEG whose EXIF block is noise."""
    return jpeg(quarters(), exif=b"Exif\0\0MM\0*\xff\xff\xff\xff\x01\x12")


def see_through() -> npt.NDArray[np.uint8]:  # [H, W, 4]
    """Return the quarters with the right half transparent; the colours below are still there, and must not show."""
    alpha = np.full((40, 60, 1), 255, np.uint8)
    alpha[:, 30:] = 0
    return np.concatenate([quarters(), alpha], axis=2)


def cmyk() -> Image.Image:
    """Return the quarters in pure inks: red, green, blue, and a grey of black ink alone."""
    inks = np.zeros((40, 60, 4), np.uint8)
    inks[:20, :30], inks[:20, 30:] = (0, 255, 255, 0), (255, 0, 255, 0)
    inks[20:, :30], inks[20:, 30:] = (255, 255, 0, 0), (0, 0, 0, 155)
    return Image.frombytes("CMYK", (60, 40), inks.tobytes())


def ycck_jpeg() -> bytes:
    """Return a YCCK JPEG (Adobe Technical Note 5116), as Photoshop writes them.

    Pillow cannot write one. A YCCK decoder turns the first three planes from YCbCr to RGB, takes their complement as
    C, M, Y, and K as it is; Adobe stores all four inverted, so the planes to store are YCbCr of (C, M, Y) and 255 - K.
    Pillow's CMYK encoder stores complements of what it is given, untransformed; then the byte that names the transform
    in the Adobe marker says YCCK.
    """
    cyan, magenta, yellow, black = cmyk().split()
    planes = Image.merge("RGB", (cyan, magenta, yellow)).convert("YCbCr").split()
    complements = [plane.point(lambda value: 255 - value) for plane in planes]
    data = bytearray(jpeg(Image.merge("CMYK", (*complements, black))))
    marker = data.index(b"Adobe")
    data[marker + 11] = 2
    return bytes(data)


def chunk(kind: bytes, content: bytes) -> bytes:
    """Return a PNG chunk."""
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(size: tuple[int, int], depth: int, colour_type: int, rows: Sequence[bytes], *before_data: bytes) -> bytes:
    """Write a PNG by hand, for the kinds that Pillow reads but does not write."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", *size, depth, colour_type, 0, 0, 0))
    content = chunk(b"IDAT", zlib.compress(b"".join(b"\0" + row for row in rows), 9))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(before_data) + content + chunk(b"IEND", b"")


def png_rgb_16(*before_data: bytes) -> bytes:
    """Return 16-bit RGB whose high bytes are the quarters and whose low bytes are noise."""
    samples = (quarters().astype(">u2") << 8) | 0x9C
    return png((60, 40), 16, 2, [row.astype(">u2").tobytes() for row in samples], *before_data)


def png_grey_2() -> bytes:
    """Return 2-bit grey (0, 1, 2, 3 in the quarters) in which sample 1 is the transparent colour."""
    samples = quarters(((0,) * 3, (1,) * 3, (2,) * 3, (3,) * 3))[..., 0].reshape(40, 15, 4)
    packed = (samples << np.array([6, 4, 2, 0], np.uint8)).sum(axis=2).astype(np.uint8)
    return png((60, 40), 2, 0, [row.tobytes() for row in packed], chunk(b"tRNS", struct.pack(">H", 1)))


def palette_image() -> Image.Image:
    """Return the quarters as a palette of four."""
    return Image.fromarray(quarters()).quantize(4)


def palette_key() -> tuple[Image.Image, int]:
    """Return the palette picture and the palette index of its top right quarter."""
    image = palette_image()
    index = image.getpixel((59, 0))
    if not isinstance(index, int):
        raise TypeError("a palette picture has integers for pixels")
    return image, index


def palette_with_key() -> bytes:
    image, index = palette_key()
    return encode(image, "PNG", transparency=index)


def palette_with_alphas() -> bytes:
    """Return a palette with an alpha for each entry: the top right quarter is half transparent."""
    image, index = palette_key()
    return encode(image, "PNG", transparency=bytes(128 if entry == index else 255 for entry in range(4)))


def animated(file_format: str, **options: Any) -> bytes:
    """Return two frames: the quarters first, then black."""
    frames = [Image.fromarray(quarters()), Image.new("RGB", (60, 40))]
    return encode(frames[0], file_format, save_all=True, append_images=frames[1:], **options)


def flat(colour: Colour, size: tuple[int, int]) -> Image.Image:
    return Image.new("RGB", size, colour)


def stripes(size: tuple[int, int]) -> Image.Image:
    """Return a line of pixels that is red in its middle tenth and blue outside."""
    pixels = np.full((size[1], size[0], 3), BLUE, np.uint8)
    across, middle = int(size[0] < size[1]), max(size) // 2
    reach = max(size) // 20
    pixels.swapaxes(0, 1 - across)[middle - reach : middle + reach] = RED
    return Image.fromarray(pixels)


def bomb() -> bytes:
    """Return a PNG of 100 bytes that claims 361 million pixels."""
    return png((19_000, 19_000), 8, 2, [])


def lying_bmp() -> bytes:
    """Return a BMP that claims ten times the rows it has."""
    data = bytearray(encode(quarters(), "BMP"))
    data[22:26] = struct.pack("<i", 400)
    return bytes(data)


def lying_jpeg() -> bytes:
    """Return a small JPEG whose header claims 65,500 x 65,500."""
    data = bytearray(jpeg(quarters()))
    frame = data.index(b"\xff\xc0")
    data[frame + 5 : frame + 9] = struct.pack(">HH", 65_500, 65_500)
    return bytes(data)


def zip_file() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(zipfile.ZipInfo("cat.txt"), "not a cat")
    return buffer.getvalue()


def half(data: bytes) -> bytes:
    return data[: len(data) // 2]
