"""`predict_many` answers about what each image was when the stream gave it, whatever the stream does with it after."""

from __future__ import annotations

import asyncio
import io
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import NamedTemporaryFile

import httpx
import numpy as np
import pytest
from PIL import Image

from linnet_client import AsyncClient, Client, FailedPrediction, Prediction
from linnet_client.images import ImageSource, Picture, take
from linnet_client.ordered import WINDOWS
from tests.client.answers import images_of, labelled, prediction_answer

pytestmark = pytest.mark.alone

COUNT = 24
Stream = Callable[[], Iterator[ImageSource]]


def shades(request: httpx.Request) -> httpx.Response:
    """Answer each image with the grey of its first pixel."""
    pixels = [Image.open(io.BytesIO(image)).convert("RGB").getpixel((0, 0)) for image in images_of(request)]
    return prediction_answer(*(str(pixel[0]) for pixel in pixels if isinstance(pixel, tuple)))


def one_frame(size_px: int) -> Iterator[ImageSource]:
    frame = np.zeros((size_px, size_px, 3), np.uint8)
    for number in range(COUNT):
        frame[:] = number
        yield frame


def one_picture() -> Iterator[ImageSource]:
    picture = Image.new("RGB", (8, 8))
    for number in range(COUNT):
        picture.paste((number, number, number), (0, 0, 8, 8))
        yield picture


def pages_of_one_file() -> Iterator[ImageSource]:
    pages, buffer = [Image.new("L", (8, 8), number) for number in range(COUNT)], io.BytesIO()
    pages[0].save(buffer, "TIFF", save_all=True, append_images=pages[1:])
    with Image.open(buffer) as file:
        for number in range(COUNT):
            file.seek(number)
            yield file


def png_of(shade: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("L", (8, 8), shade).save(buffer, "PNG")
    return buffer.getvalue()


def one_buffer(view: Callable[[bytearray], ImageSource]) -> Iterator[ImageSource]:
    buffer = bytearray()
    for number in range(COUNT):
        with io.BytesIO(png_of(number)) as file:
            buffer = bytearray(file.getbuffer())
            yield view(buffer)
            buffer[:] = bytes(len(buffer))


def files_closed_at_once() -> Iterator[ImageSource]:
    for number in range(COUNT):
        with NamedTemporaryFile() as file:
            file.write(png_of(number))
            file.seek(0)
            yield file


STREAMS: dict[str, Stream] = {
    "small array": lambda: one_frame(8),
    "large array": lambda: one_frame(200),
    "picture": one_picture,
    "pages": pages_of_one_file,
    "bytearray": lambda: one_buffer(lambda buffer: buffer),
    "memoryview": lambda: one_buffer(memoryview),
    "files": files_closed_at_once,
}


@pytest.mark.parametrize("name", STREAMS)
def test_what_the_stream_gives_may_change_after(name: str) -> None:
    with Client(transport=httpx.MockTransport(shades)) as client:
        results = list(client.predict_many(STREAMS[name](), concurrency=4))
    assert [result.label for result in results if isinstance(result, Prediction)] == list(map(str, range(COUNT)))


@pytest.mark.parametrize("name", STREAMS)
@pytest.mark.parametrize("is_asynchronous", [False, True])
def test_it_may_so_with_asyncio(*, name: str, is_asynchronous: bool) -> None:
    async def asynchronous() -> AsyncIterator[ImageSource]:
        for image in STREAMS[name]():
            yield image

    async def ask() -> list[Prediction | FailedPrediction]:
        async with AsyncClient(transport=httpx.MockTransport(shades)) as client:
            images = asynchronous() if is_asynchronous else STREAMS[name]()
            return [result async for result in client.predict_many(images, concurrency=4)]

    results = asyncio.run(ask())
    assert [result.label for result in results if isinstance(result, Prediction)] == list(map(str, range(COUNT)))


def test_the_orientation_of_a_picture_travels_with_its_copy() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    orientations: list[int | None] = []
    buffer = io.BytesIO()
    Image.new("RGB", (8, 4)).save(buffer, "JPEG", exif=exif)

    def service(request: httpx.Request) -> httpx.Response:
        orientations.extend(Image.open(io.BytesIO(image)).getexif().get(0x0112) for image in images_of(request))
        return prediction_answer(*["red"] * len(images_of(request)))

    def pictures() -> Iterator[ImageSource]:
        for mode in ("RGB", "CMYK"):
            with Image.open(buffer) as picture:
                yield picture if mode == "RGB" else with_exif(picture.convert(mode), exif)

    with Client(transport=httpx.MockTransport(service)) as client:
        assert len(list(client.predict_many(pictures(), concurrency=1))) == 2
    assert orientations == [6, 6]


def with_exif(picture: Image.Image, exif: Image.Exif) -> Image.Image:
    picture.getexif().update(exif)
    return picture


@dataclass(frozen=True)
class Lazy:
    """Reads itself when it is asked to, as the images of `linnet predict` do; notes in which thread."""

    name: str
    readers: list[str]

    def read(self) -> bytes:
        self.readers.append(threading.current_thread().name)
        return self.name.encode()


def test_what_opens_its_own_file_is_read_by_a_worker_in_its_turn() -> None:
    readers: list[str] = []
    ahead = 0

    def images() -> Iterator[ImageSource]:
        nonlocal ahead
        for number in range(100):
            ahead = number + 1
            yield Lazy(str(number), readers)

    with Client(transport=httpx.MockTransport(labelled)) as client:
        for number, result in enumerate(client.predict_many(images(), concurrency=2)):
            assert result.filename == str(number)
            assert ahead <= number + 1 + 2 * WINDOWS
    assert len(readers) == 100
    assert all(name.startswith("linnet-client") for name in readers)


def test_a_path_is_read_in_its_turn(tmp_path: Path) -> None:
    path = tmp_path / "later.png"
    taken = take(path)
    path.write_bytes(b"later")
    assert taken.read() == Picture(b"later", str(path))


class Torn(io.BytesIO):
    """A file on a disk that fails."""

    def read(self, *_: object) -> bytes:
        raise OSError(5, "Input/output error")


def wrong_in_the_middle(wrong: object) -> Iterable[ImageSource]:
    return [b"0", b"1", wrong, b"3"]  # type: ignore[list-item]


def test_a_file_that_cannot_be_read_fails_in_its_place() -> None:
    with Client(transport=httpx.MockTransport(labelled)) as client:
        results = list(client.predict_many(wrong_in_the_middle(Torn())))
    assert [isinstance(result, FailedPrediction) for result in results] == [False, False, True, False]


@pytest.mark.parametrize("wrong", [3, io.StringIO("text"), np.zeros((2, 2), np.float32)], ids=["3", "text", "floats"])
def test_what_is_no_image_ends_the_stream_in_its_place(wrong: object) -> None:
    labels = []
    with Client(transport=httpx.MockTransport(labelled)) as client, pytest.raises(TypeError):
        for result in client.predict_many(wrong_in_the_middle(wrong)):
            assert isinstance(result, Prediction)
            labels.append(result.label)
    assert labels == ["0", "1"]
