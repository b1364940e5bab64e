"""Writes pixels as PNG with the standard library, so that arrays need neither NumPy nor Pillow here."""

from __future__ import annotations

import struct
import zlib

# Channels of an image -> PNG colour type.
COLOUR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}


def encode_png(pixels: bytes, height: int, width: int, channels: int) -> bytes:
    """Return a PNG of 8 bits per channel from `pixels`, uint8 [H, W, C] row by row; C is a key of `COLOUR_TYPES`."""
    stride = width * channels
    rows = b"".join(b"\0" + pixels[start : start + stride] for start in range(0, height * stride, stride))
    header = struct.pack(">IIBBBBB", width, height, 8, COLOUR_TYPES[channels], 0, 0, 0)
    # Level 1: the bytes go over a network once, and compressing harder takes longer than sending them.
    chunks = (_chunk(b"IHDR", header), _chunk(b"IDAT", zlib.compress(rows, 1)), _chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
