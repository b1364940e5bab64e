"""The requests: images made here, as one image or many, in a form or as the whole body."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from PIL import Image

BOUNDARY = "linnet-bench-8f1d0c6a"
COARSE_PX = 32  # of noise from side to side of a photo: about as smooth, and as dear to decode


@dataclass(frozen=True)
class Payload:
    """A request's body."""

    name: str
    body: bytes
    content_type: str
    images: int = 1

    def request(self, path: str, host: str) -> bytes:
        """Return the whole request as it goes over the wire."""
        head = f"POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: {self.content_type}\r\n"
        return f"{head}Content-Length: {len(self.body)}\r\n\r\n".encode() + self.body


def picture(width: int, height: int, seed: int = 0) -> bytes:
    """Return a JPEG that looks like something: coarse noise, made smooth, under fine noise."""
    chance = np.random.default_rng(seed)
    across = min(COARSE_PX, width // 4)
    coarse = chance.integers(0, 256, (across * height // width, across, 3), np.uint8)
    smooth = np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))
    grain = chance.integers(-6, 7, (height, width, 1), np.int16)
    buffer = io.BytesIO()
    Image.fromarray((smooth + grain).clip(0, 255).astype(np.uint8)).save(buffer, "JPEG", quality=88)
    return buffer.getvalue()


def form(name: str, images: list[bytes]) -> Payload:
    """Return multipart/form-data with every image in a field `file` (RFC 7578)."""
    parts = [
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="{number}.jpg"\r\n'
        f"Content-Type: image/jpeg\r\n\r\n".encode()
        + image
        + b"\r\n"
        for number, image in enumerate(images)
    ]
    body = b"".join(parts) + f"--{BOUNDARY}--\r\n".encode()
    return Payload(name, body, f"multipart/form-data; boundary={BOUNDARY}", len(images))


def raw(name: str, image: bytes) -> Payload:
    """Return the image as the whole body."""
    return Payload(name, image, "image/jpeg")


TINY_PX = 32
TINY_FORM = form("32 px, form", [picture(TINY_PX, TINY_PX)])
TINY_RAW = raw("32 px, raw body", picture(TINY_PX, TINY_PX))


def photo() -> Payload:
    """Return a photo of 12 million pixels, as cameras make them."""
    return raw("4000x3000", picture(4000, 3000))


def all_payloads() -> list[Payload]:
    """Return every request that the closed loop is run with; takes a second."""
    many = form("32 px, 32 in a form", [picture(TINY_PX, TINY_PX, seed) for seed in range(32)])
    return [TINY_FORM, TINY_RAW, many, raw("1280x960", picture(1280, 960)), photo()]
