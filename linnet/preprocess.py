"""The one way from image bytes to the network's input.

The trainer's evaluation, the export's gates and the service all call `load_image`; nobody else resizes an image for
inference. Everything is done by Pillow in one documented order, so the same bytes give the same pixels everywhere.
Must not import torch, ONNX Runtime or a web framework.
"""

from __future__ import annotations

import math
import warnings
from io import BytesIO
from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, UnidentifiedImageError
from pydantic import BaseModel, ConfigDict, Field

from linnet.errors import ImageError, ImageTooLarge, UnreadableImage, UnsupportedImage, first_line
from linnet.jpeg import has_too_many_scans

ACCEPTED_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
# How files of these formats are named, for whoever looks for images in a folder; what decides is the content.
IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff"})
DEFAULT_MAX_PIXELS = 50_000_000

# A reduced-scale JPEG decode keeps at least this many times the final side, so that the antialiased resize which
# follows still decides what the network sees.
DRAFT_OVERSAMPLING = 2

# Pillow warns of damaged metadata, which a picture can do without, and of sizes, which `max_pixels` decides. Filters
# belong to the whole process: setting one around a call would not be safe with threads.
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning, module=r"PIL\.")

_RESAMPLING = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}

# EXIF 2.32, tag 0x0112: how the stored pixels must be turned to stand upright.
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

# TIFF 6.0, section 15: TileWidth and TileLength.
_TILE_SIDES = (322, 323)

# The bit depth is byte 8 of the IHDR data, which always comes first: 8 bytes of signature, 8 of chunk header.
_PNG_DEPTH_AT = 24

Channel = Annotated[int, Field(ge=0, le=255)]
Share = Annotated[float, Field(ge=0, le=1)]
Spread = Annotated[float, Field(gt=0, le=1)]


class PreprocessSpec(BaseModel):
    """How an image becomes the network's input; travels with every run and every bundle."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    size_px: int = Field(ge=8, le=2048, description="side of the square input, pixels")
    resize: Literal["crop", "stretch"] = Field(
        default="crop", description="'crop' keeps the aspect ratio and cuts the longer side; 'stretch' keeps all pixels"
    )
    crop_fraction: float = Field(default=1.0, gt=0.0, le=1.0, description="share of the shorter side that is kept")
    interpolation: Literal["bilinear", "bicubic"] = Field(default="bilinear", description="antialiased by Pillow")
    background: tuple[Channel, Channel, Channel] = Field(
        default=(255, 255, 255), description="RGB behind transparent pixels"
    )
    jpeg_draft: bool = Field(default=True, description="decode large JPEGs at 1/2, 1/4 or 1/8 scale")
    mean: tuple[Share, Share, Share] = Field(description="RGB mean of values in [0, 1]; subtracted inside the network")
    std: tuple[Spread, Spread, Spread] = Field(
        description="RGB deviation of values in [0, 1]; divides inside the network"
    )


def load_image(
    data: bytes, spec: PreprocessSpec, *, max_pixels: int = DEFAULT_MAX_PIXELS
) -> npt.NDArray[np.uint8]:  # [H, W, 3]
    """Decode `data` and return the network's input as uint8 RGB [size_px, size_px, 3].

    The order: open by an allow-list of formats, check the pixel count against `max_pixels` (that of a TIFF's tiles too,
    and the scans of a JPEG), JPEG draft decoding, decode the first frame, turn upright by EXIF, settle depth, palette,
    alpha and colour model, then cut and resize in one step. ICC profiles are ignored. Pillow's own limit (178 million
    pixels) holds as well, whatever `max_pixels` says.

    Raises `UnsupportedImage`, `UnreadableImage` or `ImageTooLarge`, and nothing else, whatever the bytes.
    """
    image = _open(data, max_pixels)
    try:
        if spec.jpeg_draft:
            draft_px = DRAFT_OVERSAMPLING * round(spec.size_px / spec.crop_fraction)
            image.draft(None, (draft_px, draft_px))
        image.load()
        _scale_key_colour(image, data)
        # One name for all stages, so that a large image is never held twice for longer than a stage needs.
        image = _settle_mode(_upright(image), spec.background)
    except ImageError:
        raise
    except Exception as error:  # Pillow's decoders raise OSError, SyntaxError, ValueError, AssertionError and others
        raise UnreadableImage(first_line(error, 120)) from error
    side = (spec.size_px, spec.size_px)
    return np.asarray(image.resize(side, _RESAMPLING[spec.interpolation], box=_kept_box(image.size, spec)))


def _open(data: bytes, max_pixels: int) -> Image.Image:
    try:
        image = Image.open(BytesIO(data), formats=ACCEPTED_FORMATS)
    except UnidentifiedImageError as error:
        raise UnsupportedImage(ACCEPTED_FORMATS) from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageTooLarge(max_pixels) from error
    except Exception as error:
        raise UnreadableImage(first_line(error, 120)) from error
    if unpacked_pixels(image) > max_pixels:
        raise ImageTooLarge(max_pixels)
    if image.format in ("JPEG", "MPO") and has_too_many_scans(data):
        raise UnreadableImage("it has more scans or segments than any encoder writes")
    return image


def unpacked_pixels(image: Image.Image) -> int:
    """Return how many pixels are unpacked at once at full scale: those of the image, or of a TIFF's larger tile.

    Raises `UnreadableImage` for tiles whose sides are no numbers.
    """
    try:
        sides = [int(getattr(image, "tag_v2", {}).get(tag, 0)) for tag in _TILE_SIDES]
    except Exception as error:  # Pillow reads a tag when it is asked for
        raise UnreadableImage("its tiles have no size") from error
    return max(image.width * image.height, math.prod(sides))


def _upright(image: Image.Image) -> Image.Image:
    """Apply the EXIF orientation; an EXIF block that cannot be read counts as none."""
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation)
    except Exception:
        return image
    method = _UPRIGHT.get(orientation) if isinstance(orientation, int) else None
    return image if method is None else image.transpose(method)


def _scale_key_colour(image: Image.Image, data: bytes) -> None:
    """Bring the transparent colour of a PNG to the 8 bits of the decoded pixels.

    The tRNS chunk counts in samples of the file's own depth (PNG specification, 11.3.2.1), and so does Pillow's
    `info`, while the pixels have been scaled.
    """
    key = image.info.get("transparency")
    if image.format != "PNG" or image.mode not in ("L", "I;16", "RGB") or key is None:
        return
    depth = data[_PNG_DEPTH_AT]

    def to_8_bits(value: int) -> int:
        return value >> 8 if depth == 16 else value * 255 // ((1 << depth) - 1)

    image.info["transparency"] = tuple(map(to_8_bits, key)) if isinstance(key, tuple) else to_8_bits(key)


def _settle_mode(image: Image.Image, background: tuple[int, int, int]) -> Image.Image:
    """Return the image as RGB: 16 bits cut to 8, transparency laid over `background`."""
    if image.mode.startswith("I;16"):
        image = _high_bytes(image)
    if image.mode in ("I", "F"):
        raise UnreadableImage("32-bit pixels have no fixed white")
    if not image.has_transparency_data:
        return image if image.mode == "RGB" else image.convert("RGB")
    layer = image if image.mode == "RGBA" else image.convert("RGBA")
    canvas = Image.new("RGB", image.size, background)
    canvas.paste(layer, mask=layer)
    return canvas


def _high_bytes(image: Image.Image) -> Image.Image:
    """Return a 16-bit grey image in 8 bits, as Pillow does for 16-bit RGB; its own conversion clips at 255 instead."""
    grey = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    grey.info = image.info
    return grey


def _kept_box(size: tuple[int, int], spec: PreprocessSpec) -> tuple[float, float, float, float]:
    """Return the part of an upright image of `size` (width, height) that the network sees: left, top, right, bottom."""
    width, height = size
    shorter = min(width, height)
    whole_width, whole_height = (shorter, shorter) if spec.resize == "crop" else (width, height)
    kept_width, kept_height = whole_width * spec.crop_fraction, whole_height * spec.crop_fraction
    left, top = (width - kept_width) / 2, (height - kept_height) / 2
    return left, top, left + kept_width, top + kept_height
