"""Every method against a real service, with every kind of image; both clients alike."""

from __future__ import annotations

import asyncio
import inspect
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from linnet_client import (
    AsyncClient,
    Client,
    Health,
    InvalidAddress,
    NotFound,
    NotReadyInTime,
    Overloaded,
    Prediction,
    Unreachable,
    UnreadableImage,
    UnsupportedImage,
)
from linnet_client.images import ImageSource, read_image
from tests.service.bundles import CLASSES, COLOURS, png
from tests.service.running import ROOT

NOBODY = "http://127.0.0.1:9"


def pixels(channels: int) -> npt.NDArray[np.uint8]:
    return np.full((18, 22, channels), (*COLOURS["green"], 255)[:channels], np.uint8)


KINDS: dict[str, Callable[[Path], ImageSource]] = {
    "path": lambda photo: photo,
    "path as text": str,
    "bytes": Path.read_bytes,
    "bytearray": lambda photo: bytearray(photo.read_bytes()),
    "memoryview": lambda photo: memoryview(photo.read_bytes()),
    "file": lambda photo: io.BytesIO(photo.read_bytes()),
    "Pillow": Image.open,
    "Pillow, CMYK": lambda _: Image.new("CMYK", (9, 9), (255, 0, 255, 0)),
    "Pillow, HSV": lambda photo: Image.open(photo).convert("HSV"),
    "Pillow, palette": lambda photo: Image.open(photo).convert("P"),
    "array": lambda _: pixels(3),
    "array with alpha": lambda _: pixels(4),
    "view of an array": lambda _: pixels(3)[::-1, ::2],
}


@pytest.mark.e2e
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_image_is_understood(client: Client, photo: Path, kind: str) -> None:
    prediction = client.predict(KINDS[kind](photo))
    assert prediction.label == "green"
    assert prediction.filename == (str(photo) if kind in ("path", "path as text", "Pillow") else None)


@pytest.mark.e2e
def test_an_open_file_is_called_by_its_name(client: Client, photo: Path) -> None:
    with photo.open("rb") as file:
        assert client.predict(file).filename == str(photo)


@pytest.mark.e2e
def test_a_prediction_says_all_that_the_service_says(client: Client, photo: Path) -> None:
    prediction = client.predict(photo, model="shades", version=1, top_k=2)
    assert isinstance(prediction, Prediction)
    assert prediction.top[0].label == prediction.label == "green"
    assert len(prediction.top) == 2
    assert prediction.confidence == prediction.top[0].probability
    assert (prediction.model, prediction.version, prediction.variant) == ("shades", "1", "fp32")
    assert prediction.request_id
    assert prediction.timing_ms.inference > 0
    assert prediction.uncertain is False


@pytest.mark.e2e
def test_pixels_of_a_photo_give_what_its_file_gives(cat_url: str) -> None:
    """The bundled model on a real photo: no reduced-scale JPEG decoding happens at this size, so pixels are equal."""
    path = ROOT / "examples" / "cat.jpg"
    with Image.open(path) as image, Client(cat_url) as client:
        turned = image.transpose(Image.Transpose.ROTATE_90)
        exif = Image.Exif()
        exif[0x0112] = 6  # to be turned by 270 degrees to stand upright
        turned.info["exif"] = exif.tobytes()
        answers = [client.predict(kind) for kind in (path, image, np.asarray(image), turned)]
    assert answers[0].label == "cat"
    assert {answer.top for answer in answers} == {answers[0].top}


@pytest.mark.e2e
def test_models_are_listed(client: Client) -> None:
    assert [(model.name, model.version, model.is_ready) for model in client.models()] == [
        ("colours", "1", True), ("colours", "2", False), ("shades", "1", True)
    ]  # fmt: skip
    model = client.model("colours")
    assert (model.version, model.default, model.classes, model.input_size) == ("1", True, CLASSES, 16)
    assert model.metrics is not None
    assert (model.metrics.correct, model.metrics.n, model.metrics.split) == (193, 200, "test")
    assert (model.metrics.accuracy_low, model.metrics.accuracy_high) == (0.93, 0.983)
    assert model.metrics.confusion == ((66, 0, 1), (2, 64, 1), (2, 1, 63))
    assert client.model("colours", 2).state == "failed"
    assert client.model("colours", 2).classes is None
    for name, version in (("nothing", None), ("colours", 7), ("../healthz", None)):
        with pytest.raises(NotFound):
            client.model(name, version)


@pytest.mark.e2e
def test_an_answer_that_is_a_problem_is_raised(client: Client, photo: Path) -> None:
    with pytest.raises(UnsupportedImage) as caught:
        client.predict(b"no image")
    assert (caught.value.status_code, caught.value.code) == (415, "unsupported_image")
    assert caught.value.request_id
    assert str(caught.value) == caught.value.detail
    with pytest.raises(UnreadableImage):
        client.predict(png()[:60])
    with pytest.raises(NotFound, match="colours, shades"):
        client.predict(photo, model="tones")
    with pytest.raises(Overloaded) as refused:  # asks for a minute of patience, which is not waited for
        client.predict(photo, model="colours", version=2)
    assert (refused.value.code, refused.value.retry_after_s) == ("model_unavailable", 60)
    with pytest.raises(FileNotFoundError):
        client.predict("nowhere.jpg")


@pytest.mark.e2e
def test_health_is_said_at_once(client: Client) -> None:
    assert client.health() == Health(is_live=True, is_ready=True)
    client.wait_until_ready(timeout_s=0)
    nobody = Client(NOBODY)
    assert not nobody.health().is_live
    with pytest.raises(NotReadyInTime, match="cannot be reached"):
        nobody.wait_until_ready(timeout_s=0)


@pytest.mark.e2e
def test_the_asynchronous_client_answers_alike(url: str, client: Client, photo: Path) -> None:
    async def ask() -> None:
        async with AsyncClient(url) as asynchronous:
            await asynchronous.wait_until_ready(timeout_s=0)
            assert (await asynchronous.predict(photo, top_k=3)).top == client.predict(photo, top_k=3).top
            assert await asynchronous.models() == client.models()
            assert await asynchronous.model("shades") == client.model("shades")
            assert await asynchronous.health() == client.health()
            with pytest.raises(UnsupportedImage):
                await asynchronous.predict(b"no image")
        async with AsyncClient(NOBODY, retries=0) as nobody:
            assert not (await nobody.health()).is_live
            with pytest.raises(Unreachable):
                await nobody.models()
            with pytest.raises(NotReadyInTime):
                await nobody.wait_until_ready(timeout_s=0)

    asyncio.run(ask())


def public_methods(kind: type) -> dict[str, list[str]]:
    methods = inspect.getmembers(kind, inspect.isfunction)
    return {name: list(inspect.signature(method).parameters) for name, method in methods if not name.startswith("_")}


def test_both_clients_have_the_same_methods() -> None:
    assert public_methods(AsyncClient) == public_methods(Client)
    asked = {"predict", "predict_many", "explain", "models", "model", "health", "wait_until_ready"}
    assert asked <= public_methods(Client).keys()
    ours, theirs = (list(inspect.signature(kind).parameters) for kind in (Client, AsyncClient))
    assert ours == theirs


@pytest.mark.parametrize("address", ["localhost:8000", "ftp://host", "http://", "http://host:port", ""])
def test_an_address_that_is_none_is_said_before_anything_is_asked(address: str) -> None:
    with pytest.raises(InvalidAddress):
        Client(address)
    with pytest.raises(InvalidAddress):
        AsyncClient(address)


@pytest.mark.parametrize(
    "wrong", [None, 3, object(), io.StringIO("text"), np.zeros((4, 4, 3), np.float32), np.zeros((2, 4, 4, 3), np.uint8)]
)
def test_what_is_no_image_is_a_type_error(wrong: ImageSource) -> None:
    with pytest.raises(TypeError):
        Client(NOBODY).predict(wrong)


@pytest.mark.e2e
def test_an_explanation_is_numbers_or_a_picture(client: Client, photo: Path) -> None:
    found = client.explain(photo, label="red", model="shades")
    assert (found.label, found.model) == ("red", "shades")
    assert all(0 <= value <= 1 for row in found.grid for value in row)
    assert client.explain(photo).label == "green"
    assert Image.open(io.BytesIO(client.explain_png(photo))).format == "PNG"


@pytest.mark.parametrize("mode", ["I;16", "I;16B"])
def test_sixteen_bits_are_sent_as_they_are(mode: str) -> None:
    """Whichever byte comes first."""
    values = (np.arange(81).reshape(9, 9) * 800).astype("<u2" if mode == "I;16" else ">u2")
    image = Image.frombytes(mode, (9, 9), values.tobytes())
    with Image.open(io.BytesIO(read_image(image).data)) as sent:
        assert np.array_equal(np.asarray(sent), values)
