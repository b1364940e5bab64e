"""Files whose markers ask for more than their pixels would."""

from __future__ import annotations

import io
import time

import numpy as np
import pytest
from PIL import Image

from linnet.errors import UnreadableImage
from linnet.jpeg import MAX_SCANS, has_too_many_scans, is_held_whole
from linnet.preprocess import PreprocessSpec, load_image

SPEC = PreprocessSpec(size_px=32, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))


def jpeg(mode: str = "RGB", side_px: int = 64, **options: object) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 256, (side_px, side_px, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(buffer, "JPEG", **options)
    return buffer.getvalue()


def with_scans_again(times: int, side_px: int = 64) -> bytes:
    """Return a grey progressive image whose last scan comes again and again."""
    content = jpeg("L", side_px, progressive=True)
    last = content.rindex(b"\xff\xda")
    return content[:-2] + content[last:-2] * times + content[-2:]


def in_separate_scans() -> bytes:
    """Return a sequential image whose first scan holds one of three components; what follows does not matter."""
    content = jpeg()
    scan = content.index(b"\xff\xda")
    return content[:scan] + bytes.fromhex("ffda 0008 01 01 00 00 3f 00") + content[scan + 14 :]


def test_scans_without_end_are_refused() -> None:
    load_image(with_scans_again(20), SPEC)
    endless = with_scans_again(MAX_SCANS + 1)
    assert has_too_many_scans(endless)
    with pytest.raises(UnreadableImage, match="it has more scans or segments than any"):
        load_image(endless, SPEC)


def test_what_stands_behind_an_image_or_in_its_segments_is_none_of_its_scans() -> None:
    """A film behind a photo, or a thumbnail in its head, has bytes that look like scans."""
    behind = jpeg() + b"\xff\xda" * 1000
    assert not has_too_many_scans(behind)
    load_image(behind, SPEC)
    assert not has_too_many_scans(jpeg(comment=b"\xff\xda" * 1000))


def test_only_one_scan_of_all_components_is_decoded_row_by_row() -> None:
    assert not is_held_whole(jpeg())
    assert not is_held_whole(jpeg("L"))
    assert not is_held_whole(jpeg("CMYK", restart_marker_blocks=1))
    assert is_held_whole(jpeg(progressive=True))
    assert is_held_whole(in_separate_scans())


@pytest.mark.parametrize("content", [b"", b"\xff", b"\xff\xd8\xff\xda", b"\xff\xd8\xff\xc0\x00", b"\xff" * 5000])
def test_any_bytes_have_markers_or_none(content: bytes) -> None:
    assert not has_too_many_scans(content)
    assert not is_held_whole(content)


def test_scans_do_not_hide_in_what_libjpeg_passes_over() -> None:
    """After a wrong marker within a scan it looks for the next one, and not behind a length."""
    content = with_scans_again(MAX_SCANS + 1, side_px=16)
    first = content.index(b"\xff\xda") + 12
    hidden = content[:first] + b"\xff\x02\x7f\xff" + content[first:]
    assert len(hidden) < 0x7FFF, "all would be behind the length"
    assert has_too_many_scans(hidden)


@pytest.mark.parametrize("filling", [b"\xff" * 2_000_000, b"\xff\x00" * 1_000_000, b"\xff\xd0" * 1_000_000])
def test_what_fills_a_scan_is_read_once(filling: bytes) -> None:
    content = jpeg("L", progressive=True)
    begin_s = time.perf_counter()
    assert not has_too_many_scans(content[:-2] + filling)
    assert time.perf_counter() - begin_s < 1


def test_segments_without_end_are_not_followed_to_it() -> None:
    endless = b"\xff\xdb\x00\x00" * 5_000_000
    begin_s = time.perf_counter()
    assert is_held_whole(endless)
    assert has_too_many_scans(endless)
    assert time.perf_counter() - begin_s < 1
