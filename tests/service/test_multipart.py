from __future__ import annotations

import itertools
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.body import Upload
from service.errors import MalformedRequest, RequestError, TooManyImages
from service.multipart import MAX_FIELDS, MultipartReader, boundary_of

BOUNDARY = b"the-boundary"


def part(data: bytes, disposition: str = 'form-data; name="file"; filename="a.png"') -> bytes:
    head = f"Content-Disposition: {disposition}\r\nContent-Type: image/png\r\n\r\n".encode()
    return b"--" + BOUNDARY + b"\r\n" + head + data + b"\r\n"


def body(*parts: bytes) -> bytes:
    return b"".join(parts) + b"--" + BOUNDARY + b"--\r\n"


def read(content: bytes, *, max_images: int = 4, cuts: list[int] | None = None) -> list[Upload]:
    reader = MultipartReader(BOUNDARY, max_images)
    edges = [0, *sorted(min(cut, len(content)) for cut in cuts or []), len(content)]
    for begin, end in itertools.pairwise(edges):
        reader.feed(content[begin:end])
    return reader.finish()


@settings(deadline=None)
@given(
    images=st.lists(st.binary(max_size=60) | st.just(b"\r\n--the-boundar"), min_size=1, max_size=4),
    cuts=st.lists(st.integers(0, 600), max_size=12),
)
def test_images_come_out_as_they_went_in_however_the_body_is_cut(images: list[bytes], cuts: list[int]) -> None:
    content = body(*(part(image) for image in images))
    assert read(content, cuts=cuts) == [Upload("a.png", image) for image in images]


@settings(deadline=None)
@given(
    position=st.integers(0, 300),
    replacement=st.binary(max_size=8),
    length=st.integers(0, 40),
)
def test_a_damaged_body_is_an_answer_or_a_request_error(position: int, replacement: bytes, length: int) -> None:
    content = body(part(b"one"), part(b"two"))
    damaged = content[:position] + replacement + content[position + length :]
    with suppress(RequestError):
        read(damaged)


def test_file_names_are_read_as_utf_8_and_cut() -> None:
    names = ["kätzchen.png", "x" * 300]
    parts = [part(b"", f'form-data; name="file"; filename="{name}"') for name in names]
    assert [upload.filename for upload in read(body(*parts))] == ["kätzchen.png", "x" * 255]


def test_a_file_without_a_name_is_an_image() -> None:
    assert read(body(part(b"data", 'form-data; name="file"'))) == [Upload(None, b"data")]


def test_other_fields_are_read_past() -> None:
    fields = [part(b"ignored", f'form-data; name="field{number}"') for number in range(MAX_FIELDS)]
    assert read(body(*fields, part(b"data"))) == [Upload("a.png", b"data")]
    with pytest.raises(MalformedRequest, match="more than 16 fields"):
        read(body(*fields, part(b"one more", 'form-data; name="field"'), part(b"data")))


def test_the_number_of_images_is_bounded() -> None:
    assert len(read(body(part(b""), part(b"")), max_images=2)) == 2
    with pytest.raises(TooManyImages):
        read(body(part(b""), part(b""), part(b"")), max_images=2)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (body(), "no part is named 'file'"),
        (body(part(b"", 'form-data; name="text"')), "no part is named 'file'"),
        (body(part(b"", 'form-data; name="image"; filename="a.png"')), "named 'image': name it 'file'"),
        (part(b"data"), "ends before its closing boundary"),
        (b"", "ends before its closing boundary"),
        (b"nonsense", "is damaged"),
        (body(part(b"", "x" * 5000)), "is damaged"),
    ],
)
def test_what_is_wrong_is_said(content: bytes, reason: str) -> None:
    with pytest.raises(MalformedRequest, match=reason):
        read(content)


def test_the_boundary_is_needed_and_bounded() -> None:
    assert boundary_of('multipart/form-data; boundary="abc"') == b"abc"
    with pytest.raises(MalformedRequest, match="names no boundary"):
        boundary_of("multipart/form-data")
    with pytest.raises(MalformedRequest, match="too long"):
        MultipartReader(b"x" * 300, 1)
