"""No input moves the service's memory for good, none is answered with a 500."""

from __future__ import annotations

import io
import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from PIL import Image

from tests.service.running import ROOT, ServerProcess

pytestmark = [pytest.mark.e2e, pytest.mark.alone]

MIB = 1024 * 1024
GOLDEN = ROOT / "tests" / "golden" / "images"
FORMATS = [("JPEG", "RGB"), ("JPEG", "CMYK"), ("PNG", "RGBA"), ("PNG", "P"), ("PNG", "I;16"), ("WEBP", "RGB")]
FORMATS += [("GIF", "P"), ("BMP", "RGB"), ("TIFF", "RGB"), ("TIFF", "F")]


def encoded(image_format: str, mode: str, size: tuple[int, int] = (60, 40)) -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, size, 120 if mode in ("P", "I;16", "F") else None).save(buffer, image_format)
    return buffer.getvalue()


def mutated(source: random.Random, image: bytes) -> bytes:
    """Cut, overwrite or repeat at random."""
    content = bytearray(image)
    for _ in range(source.randint(1, 8)):
        position = source.randrange(len(content))
        match source.randrange(3):
            case 0:
                content[position] = source.randrange(256)
            case 1:
                content[position : position + 4] = source.randbytes(4)
            case _:
                content[position:position] = content[position : position + source.randint(1, 64)]
    return bytes(content[: source.randint(1, len(content))] if source.random() < 0.2 else content)


def inputs() -> Iterator[bytes]:
    source = random.Random(0)
    images = [path.read_bytes() for path in sorted(GOLDEN.iterdir())]
    assert len(images) > 20
    yield from images
    images = [image for image in images if image] + [encoded(image_format, mode) for image_format, mode in FORMATS]
    for _ in range(8):
        yield from (mutated(source, image) for image in images)
    yield encoded("PNG", "RGB", (9_000, 9_000))  # 81 million pixels: refused by its header
    yield from (encoded(image_format, mode, (2_000, 1_500)) for image_format, mode in FORMATS)


def test_a_fuzz_of_images_neither_breaks_the_service_nor_stays_in_memory(models_dir: Path) -> None:
    with ServerProcess(models_dir) as server, httpx.Client(base_url=server.url) as client:
        client.post("/predict", content=encoded("PNG", "RGB"))
        before = server.resident_bytes()
        statuses = {client.post("/predict", files={"file": image}).status_code for image in inputs()}
        moved_mib = (server.resident_bytes() - before) / MIB
    assert statuses <= {200, 413, 415, 422}
    assert {200, 413, 415, 422} <= statuses
    assert moved_mib < 16
    assert "Traceback" not in "".join(server.log)


def test_large_images_are_unpacked_one_at_a_time(models_dir: Path) -> None:
    image = encoded("PNG", "RGBA", (4_000, 4_000))  # 64 MB unpacked
    with ServerProcess(models_dir, decode_threads=4) as server:
        httpx.post(f"{server.url}/predict", content=image)
        peak_of_one = server.peak_resident_bytes()
        with ThreadPoolExecutor(4) as clients:
            answers = list(clients.map(lambda _: httpx.post(f"{server.url}/predict", content=image), range(8)))
        assert {answer.status_code for answer in answers} == {200}
        assert server.peak_resident_bytes() - peak_of_one < 32 * MIB
