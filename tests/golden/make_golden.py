"""Write the awkward images of `tests/golden/images/` and the pixels that `load_image` must make of them.

    python -m tests.golden.make_golden             # images and expected pixels
    python -m tests.golden.make_golden --expected  # expected pixels alone, after a wanted change of `load_image`

The images are checked in because encoders change with their versions; the tests read the files, not this module's
encoders. What each image *means* is stated here by hand (`Case.corners`), so that writing the expected pixels anew
cannot bless a mistake.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from linnet.errors import ImageError, ImageTooLarge, UnreadableImage, UnsupportedImage
from linnet.preprocess import PreprocessSpec, load_image
from tests.golden.pictures import (
    BLACK,
    BLUE,
    GREEN,
    GREY_QUARTERS,
    MAGENTA,
    QUARTERS,
    RED,
    WHITE,
    YELLOW,
    Colour,
    Corners,
    animated,
    bomb,
    broken_exif,
    chunk,
    cmyk,
    encode,
    flat,
    grey_quarters,
    half,
    jpeg,
    lying_bmp,
    lying_jpeg,
    palette_image,
    palette_with_alphas,
    palette_with_key,
    photo,
    png,
    png_grey_2,
    png_rgb_16,
    quarters,
    see_through,
    stripes,
    turned,
    ycck_jpeg,
    zip_file,
)

IMAGES = Path(__file__).parent / "images"
EXPECTED = Path(__file__).parent / "expected.npz"

# The background is no colour of any picture, so that it cannot be mistaken for one.
SPEC = PreprocessSpec(size_px=32, background=MAGENTA, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))


@dataclass(frozen=True)
class Case:
    """An image file that `load_image` must read."""

    file: str
    build: Callable[[], bytes]
    corners: Corners
    lossless: bool = False  # the pixels must be equal to the last bit


@dataclass(frozen=True)
class Refusal:
    """A file that `load_image` must refuse with exactly this error."""

    file: str
    build: Callable[[], bytes]
    error: type[ImageError]


def over(colour: Colour, alpha: float) -> Colour:
    """Return `colour` at `alpha` over the background."""
    red, green, blue = (round(alpha * top + (1 - alpha) * below) for top, below in zip(colour, MAGENTA, strict=True))
    return red, green, blue


INK_QUARTERS: Corners = ((255, 0, 0), (0, 255, 0), (0, 0, 255), (100, 100, 100))
SEE_THROUGH: Corners = (RED, MAGENTA, BLUE, MAGENTA)

CASES: tuple[Case, ...] = (
    *(Case(f"exif-{n}.jpg", lambda n=n: turned(n), QUARTERS) for n in range(1, 9)),  # type: ignore[misc]
    Case("exif-6.png", lambda: turned(6, "PNG"), QUARTERS, lossless=True),
    Case("exif-7.tif", lambda: turned(7, "TIFF", compression="tiff_lzw"), QUARTERS, lossless=True),
    Case("exif-8.webp", lambda: turned(8, "WEBP", lossless=True), QUARTERS, lossless=True),
    Case("exif-broken.jpg", broken_exif, QUARTERS),
    Case("rgb.png", lambda: encode(quarters(), "PNG"), QUARTERS, lossless=True),
    Case("rgb.bmp", lambda: encode(quarters(), "BMP"), QUARTERS, lossless=True),
    Case("rgb.tif", lambda: encode(quarters(), "TIFF"), QUARTERS, lossless=True),
    Case("rgb-lossless.webp", lambda: encode(quarters(), "WEBP", lossless=True), QUARTERS, lossless=True),
    Case("rgb-lossy.webp", lambda: encode(quarters(), "WEBP", quality=90), QUARTERS),
    Case("progressive.jpg", lambda: jpeg(quarters(), progressive=True), QUARTERS),
    Case("subsampled.jpg", lambda: jpeg(quarters(), subsampling=2), QUARTERS),
    Case("stereo.mpo", lambda: animated("MPO", quality=95, subsampling=0), QUARTERS),
    Case("grey.jpg", lambda: jpeg(grey_quarters()), GREY_QUARTERS),
    Case("grey.png", lambda: encode(grey_quarters(), "PNG"), GREY_QUARTERS, lossless=True),
    Case("grey-2-bit-key.png", png_grey_2, (BLACK, MAGENTA, (170,) * 3, WHITE), lossless=True),
    Case("grey-16.png", lambda: encode(grey_quarters().astype(np.uint16) << 8 | 0x9C, "PNG"), GREY_QUARTERS, True),
    Case("grey-16.tif", lambda: encode(grey_quarters().astype(np.uint16) << 8 | 0x9C, "TIFF"), GREY_QUARTERS, True),
    Case("rgb-16.png", png_rgb_16, QUARTERS, lossless=True),
    Case(
        "rgb-16-key.png",
        lambda: png_rgb_16(chunk(b"tRNS", struct.pack(">HHH", *(value << 8 | 0x9C for value in YELLOW)))),
        (RED, GREEN, BLUE, MAGENTA),
        lossless=True,
    ),
    Case(
        "rgb-key.png",
        lambda: encode(quarters(), "PNG", transparency=GREEN),
        (RED, MAGENTA, BLUE, YELLOW),
        lossless=True,
    ),
    Case("black-white.png", lambda: encode(Image.fromarray(grey_quarters()).point(lambda v: v > 127, "1"), "PNG"),
         (BLACK, BLACK, WHITE, WHITE), lossless=True),
    Case("rgba.png", lambda: encode(see_through(), "PNG"), SEE_THROUGH, lossless=True),
    Case("rgba.webp", lambda: encode(see_through(), "WEBP", lossless=True), SEE_THROUGH, lossless=True),
    Case("grey-alpha.png", lambda: encode(np.dstack([grey_quarters(), see_through()[..., 3]]), "PNG"),
         (GREY_QUARTERS[0], MAGENTA, GREY_QUARTERS[2], MAGENTA), lossless=True),
    Case("palette.png", lambda: encode(palette_image(), "PNG"), QUARTERS, lossless=True),
    Case("palette-key.png", palette_with_key, (RED, MAGENTA, BLUE, YELLOW), lossless=True),
    Case("palette-alphas.png", palette_with_alphas, (RED, over(GREEN, 128 / 255), BLUE, YELLOW), lossless=True),
    Case("see-through.gif", lambda: encode(Image.fromarray(see_through()), "GIF"), SEE_THROUGH, lossless=True),
    Case("cmyk.jpg", lambda: jpeg(cmyk()), INK_QUARTERS),
    Case("ycck.jpg", ycck_jpeg, INK_QUARTERS),
    Case("cmyk.tif", lambda: encode(cmyk(), "TIFF"), INK_QUARTERS, lossless=True),
    Case("animated.gif", lambda: animated("GIF"), QUARTERS, lossless=True),
    Case("animated.webp", lambda: animated("WEBP", lossless=True), QUARTERS, lossless=True),
    Case("animated.png", lambda: animated("PNG"), QUARTERS, lossless=True),
    Case("1x1.png", lambda: encode(flat(RED, (1, 1)), "PNG"), (RED,) * 4, lossless=True),
    Case("10000x1.png", lambda: encode(stripes((10_000, 1)), "PNG"), (RED,) * 4, lossless=True),
    Case("1x10000.png", lambda: encode(stripes((1, 10_000)), "PNG"), (RED,) * 4, lossless=True),
    Case("photo.jpg", lambda: jpeg(photo(), quality=20, subsampling=2), QUARTERS),
)  # fmt: skip

REFUSALS: tuple[Refusal, ...] = (
    Refusal("truncated.jpg", lambda: half(jpeg(quarters())), UnreadableImage),
    Refusal("truncated.png", lambda: half(encode(photo(60, 40), "PNG")), UnreadableImage),
    Refusal("lying.bmp", lying_bmp, UnreadableImage),
    Refusal("lying.jpg", lying_jpeg, ImageTooLarge),
    Refusal("bomb.png", bomb, ImageTooLarge),
    Refusal("no-palette.png", lambda: png((2, 1), 8, 3, [b"\0\1"]), UnreadableImage),
    Refusal("float.tif", lambda: encode(np.full((4, 4), 0.5, np.float32), "TIFF"), UnreadableImage),
    Refusal("integer-32.tif", lambda: encode(np.full((4, 4), 70_000, np.int32), "TIFF"), UnreadableImage),
    Refusal("empty.png", lambda: b"", UnsupportedImage),
    Refusal("text.png", lambda: b"This is no picture.\n", UnsupportedImage),
    Refusal("zip.png", zip_file, UnsupportedImage),
    Refusal(
        "drawing.svg", lambda: b'<svg xmlns="http://www.w3.org/2000/svg" width="4" height="4"/>\n', UnsupportedImage
    ),
    Refusal("drawing.eps", lambda: encode(flat(RED, (4, 4)), "EPS"), UnsupportedImage),
    Refusal("icon.ico", lambda: encode(flat(RED, (16, 16)), "ICO"), UnsupportedImage),
)


def write_images() -> None:
    """Encode every image anew; encoders of another version may write other bytes."""
    IMAGES.mkdir(exist_ok=True)
    for case in CASES:
        (IMAGES / case.file).write_bytes(case.build())
    for refusal in REFUSALS:
        (IMAGES / refusal.file).write_bytes(refusal.build())


def write_expected() -> None:
    """Store what `load_image` makes of the images now."""
    pixels = {case.file: load_image((IMAGES / case.file).read_bytes(), SPEC) for case in CASES}
    np.savez_compressed(EXPECTED, allow_pickle=False, **pixels)


if __name__ == "__main__":
    if "--expected" not in sys.argv:
        write_images()
    write_expected()
