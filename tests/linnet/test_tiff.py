"""TIFFs whose tiles are larger than the image: libtiff unpacks whole tiles, however little of them is shown."""

from __future__ import annotations

import struct
import zlib

import pytest

from linnet.errors import ImageTooLarge, UnreadableImage
from linnet.preprocess import PreprocessSpec, load_image

SPEC = PreprocessSpec(size_px=32, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
SHORT, LONG, RATIONAL = 3, 4, 5


def tiled(tile_px: int, kind: int = LONG) -> bytes:
    """Return a grey image of 16x16 pixels in one tile, deflated; `kind` is the type that its width is written in."""
    tile = zlib.compress(bytes([200]) * tile_px * tile_px, 9)
    at = 8 + 2 + 10 * 12 + 4
    tags = [
        (256, LONG, 16), (257, LONG, 16), (258, SHORT, 8), (259, SHORT, 8), (262, SHORT, 1), (277, SHORT, 1),
        (322, kind, tile_px), (323, LONG, tile_px), (324, LONG, at), (325, LONG, len(tile)),
    ]  # fmt: skip
    entries = b"".join(struct.pack("<HHII", tag, type_, 1, value) for tag, type_, value in tags)
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4) + tile


def test_a_tile_may_be_larger_than_the_image() -> None:
    assert (load_image(tiled(48), SPEC, max_pixels=48 * 48) == 200).all()


def test_it_counts_as_the_pixels_that_it_unpacks_to() -> None:
    with pytest.raises(ImageTooLarge):
        load_image(tiled(48), SPEC, max_pixels=48 * 48 - 1)
    assert len(tiled(4096)) < 20_000
    with pytest.raises(ImageTooLarge):
        load_image(tiled(4096), SPEC, max_pixels=1_000_000)


def test_a_tile_without_a_size_is_refused() -> None:
    with pytest.raises(UnreadableImage):
        load_image(tiled(48, RATIONAL), SPEC)
