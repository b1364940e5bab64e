"""What the markers of a JPEG tell before it is decoded (ITU-T T.81, annex B).

Must not import torch, ONNX Runtime or a web framework.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

# Encoders write about ten. Every scan costs a pass over the whole image, and an empty one takes 20 bytes.
MAX_SCANS = 100
SCAN_BYTES = 10  # at least: the marker and the header of one component
MAX_SEGMENTS = 10_000  # profiles and thumbnails of cameras take some hundreds

_START_OF_SCAN, _END_OF_IMAGE = 0xDA, 0xD9
_FRAMES = frozenset({0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF})
_PROGRESSIVE = frozenset({0xC2, 0xC6, 0xCA, 0xCE})
# Those that libjpeg follows by their length, and the end. Nothing follows a restart, FF 00 is a byte of the pixels,
# FF FF fills, and what is below C0 libjpeg passes over within a scan, two bytes at a time.
_MARKER = re.compile(rb"\xff([\xc0-\xcf\xd9-\xfe])")


def has_too_many_scans(data: bytes) -> bool:
    """Tell whether the image has more than `MAX_SCANS`, or so many segments that nobody can have meant them.

    Where all is in the first scan, libjpeg reads no other: that is seen in microseconds, and counting goes through
    every byte.
    """
    if len(data) < MAX_SCANS * SCAN_BYTES or not is_held_whole(data):
        return False
    scans = 0
    for number, (marker, _) in enumerate(_segments(data)):
        scans += marker == _START_OF_SCAN
        if scans > MAX_SCANS or number > MAX_SEGMENTS:
            return True
    return False


def is_held_whole(data: bytes) -> bool:
    """Tell whether libjpeg holds all coefficients, 2 bytes a sample at any scale, as it does for several scans."""
    components = 0
    for number, (marker, at) in enumerate(_segments(data)):
        if marker in _PROGRESSIVE or number > MAX_SEGMENTS:
            return True
        if marker in _FRAMES and at + 7 < len(data):
            components = data[at + 7]
        if marker == _START_OF_SCAN:
            return at + 2 < len(data) and data[at + 2] < components
    return False


def _segments(data: bytes) -> Iterator[tuple[int, int]]:
    """Yield each segment's marker and where its length stands, to the end of the image."""
    found = _MARKER.search(data)
    while found is not None:
        marker, at = found[1][0], found.end()
        if marker == _END_OF_IMAGE:
            return
        yield marker, at
        found = _MARKER.search(data, at + int.from_bytes(data[at : at + 2]))
