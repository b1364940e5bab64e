"""Files and forms that are made to harm, each sent to a real process."""

from __future__ import annotations

import io
import struct
import time
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from PIL import Image

from tests.service.bundles import png
from tests.service.running import ServerProcess, send

pytestmark = [pytest.mark.e2e, pytest.mark.alone]


@pytest.fixture(scope="module")
def server(models_dir: Path) -> Iterator[ServerProcess]:
    with ServerProcess(models_dir) as process:
        yield process


def bomb(width: int, height: int) -> bytes:
    """Return a PNG of one colour: a gigabyte of pixels in a few kilobytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    compressor = zlib.compressobj(9)
    row = bytes(width // 8 + 2)
    rows = b"".join(compressor.compress(row * 100) for _ in range(height // 100)) + compressor.flush()
    head = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def gif(frames: int) -> bytes:
    images = [Image.new("P", (16, 16), number % 2) for number in range(frames)]
    buffer = io.BytesIO()
    images[0].save(buffer, "GIF", save_all=True, append_images=images[1:], optimize=False)
    return buffer.getvalue()


def lying() -> bytes:
    """Return a BMP whose header promises many more pixels than follow."""
    content = bytearray(png("red", image_format="BMP"))
    content[18:26] = struct.pack("<ii", 3_000, 3_000)
    return bytes(content)


def archive() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("a.png", png())
    return buffer.getvalue()


def test_a_bomb_is_refused_by_its_header(server: ServerProcess) -> None:
    content = bomb(19_000, 19_000)
    assert len(content) < 50_000
    before = server.peak_resident_bytes()
    status, code, seconds = send(server, content)
    assert (status, code) == (413, "image_too_large")
    assert seconds < 2
    assert server.peak_resident_bytes() - before < 16 * 1024 * 1024


def test_a_header_that_lies_is_unreadable(server: ServerProcess) -> None:
    assert send(server, lying())[:2] == (422, "unreadable_image")


def test_of_ten_thousand_frames_one_is_read(server: ServerProcess) -> None:
    status, _, seconds = send(server, gif(10_000))
    assert status == 200
    assert seconds < 2


@pytest.mark.parametrize(
    "content",
    [
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n",
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        archive(),
    ],
)
def test_what_is_only_called_png_is_refused(server: ServerProcess, content: bytes) -> None:
    assert send(server, content)[:2] == (415, "unsupported_image")


def test_a_hundred_thousand_fields_are_refused_soon(server: ServerProcess) -> None:
    field = b'--b\r\nContent-Disposition: form-data; name="x"\r\n\r\n1\r\n'
    begin_s = time.perf_counter()
    headers = {"content-type": "multipart/form-data; boundary=b"}
    response = httpx.post(f"{server.url}/predict", content=field * 100_000 + b"--b--\r\n", headers=headers, timeout=30)
    assert (response.status_code, response.json()["code"]) == (400, "malformed_request")
    assert time.perf_counter() - begin_s < 2
