from __future__ import annotations

import base64
import json
import tracemalloc

import pytest

from service.body import Upload
from service.errors import MalformedRequest, TooManyImages
from service.readers import JsonReader, RawReader


def read(content: bytes, max_images: int = 2) -> list[Upload]:
    reader = JsonReader(max_images)
    reader.feed(content[:7])
    reader.feed(content[7:])
    return reader.finish()


def images(*texts: str) -> bytes:
    return json.dumps({"images": texts}).encode()


def test_base64_is_decoded_with_or_without_a_data_url() -> None:
    text = base64.b64encode(b"\xff\xfe image").decode()
    expected = [Upload(None, b"\xff\xfe image")] * 2
    assert read(images(text, f"data:image/png;base64,{text}")) == expected


def test_the_number_of_images_is_bounded() -> None:
    assert len(read(images("", ""))) == 2
    with pytest.raises(TooManyImages):
        read(images("", "", ""))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "Invalid JSON"),
        (b"{", "Invalid JSON"),
        (b"\xff\xfe", "Invalid JSON"),
        (b"[" * 100_000, "recursion limit"),
        (b'{"images":' + b"[" * 100_000, "recursion limit"),
        (b'{"images": 1e999999}', "images"),
        (b"[]", "object"),
        (b"{}", "images: Field required"),
        (images(), "at least 1 item"),
        (b'{"images": "abc"}', "valid array"),
        (b'{"images": [1]}', "images.0"),
        (b'{"images": [""], "extra": 1}', "extra"),
        (images("", "%%%%"), r"images\[1\] is not standard base64"),
        (images("QQ"), r"images\[0\] is not standard base64"),
        (images("QUJD\nQUJD"), r"images\[0\] is not standard base64"),
        (images("ü"), r"images\[0\] is not standard base64"),
        (b'{"images": ["\\ud800"]}', "Invalid JSON"),
    ],
)
def test_what_is_wrong_is_said(content: bytes, reason: str) -> None:
    with pytest.raises(MalformedRequest, match=reason) as raised:
        read(content)
    assert len(str(raised.value)) < 400


def test_a_raw_body_is_one_image() -> None:
    reader = RawReader()
    with pytest.raises(MalformedRequest, match="empty"):
        reader.finish()
    reader.feed(b"ab")
    reader.feed(b"c")
    assert reader.finish() == [Upload(None, b"abc")]


@pytest.mark.parametrize("values", [b"1,", b"[0],", b'"",', b'{"a":0},'])
def test_a_body_of_too_many_values_is_not_parsed(values: bytes) -> None:
    """Each would cost a hundred times its bytes, and an error of its own."""
    reader = JsonReader(max_images=64)
    reader.feed(b'{"images":[' + values * 300_000 + b"1]}")
    tracemalloc.start()
    try:
        with pytest.raises(TooManyImages):
            reader.finish()
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()
