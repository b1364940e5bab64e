"""Every awkward image becomes the pixels it should, or is refused by the error it should."""

from __future__ import annotations

import struct
import subprocess
import sys

import numpy as np
import numpy.typing as npt
import pytest

from linnet.errors import ImageError
from linnet.preprocess import load_image
from tests.golden.make_golden import CASES, EXPECTED, IMAGES, REFUSALS, SPEC, Case, Refusal
from tests.golden.pictures import BLUE

# Decoders of JPEG and lossy WebP differ in rounding between versions and instruction sets, by one level here and there;
# next to a hard edge it can be a few. Lossless formats leave no choice.
LOSSY_MEAN, LOSSY_MAX = 1.0, 8
# A lossy picture of flat quarters keeps its colours to within this.
CORNER_TOLERANCE = 8
WHOLE_IMAGE_TOLERANCE = 2.0
PEAK_LIMIT_MB = 100
# Measured: nothing. Ten rounds whose results are all kept take 15 MB.
KEPT_LIMIT_MB = 3


def read(file: str) -> bytes:
    return (IMAGES / file).read_bytes()


def difference(left: npt.NDArray[np.uint8], right: npt.NDArray[np.uint8]) -> npt.NDArray[np.int16]:
    return np.abs(left.astype(np.int16) - right.astype(np.int16)).astype(np.int16)


@pytest.fixture(scope="module")
def expected() -> dict[str, npt.NDArray[np.uint8]]:
    with np.load(EXPECTED) as stored:
        return dict(stored)


def test_the_folder_holds_exactly_the_cases(expected: dict[str, npt.NDArray[np.uint8]]) -> None:
    assert {path.name for path in IMAGES.iterdir()} == {case.file for case in CASES} | {
        refusal.file for refusal in REFUSALS
    }
    assert set(expected) == {case.file for case in CASES}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.file)
def test_pixels_are_the_stored_ones(case: Case, expected: dict[str, npt.NDArray[np.uint8]]) -> None:
    pixels = load_image(read(case.file), SPEC)
    assert pixels.dtype == np.uint8
    assert pixels.shape == (SPEC.size_px, SPEC.size_px, 3)
    apart = difference(pixels, expected[case.file])
    if case.lossless:
        assert apart.max() == 0
    else:
        assert apart.mean() <= LOSSY_MEAN
        assert apart.max() <= LOSSY_MAX


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.file)
def test_corners_have_the_colours_that_were_painted(case: Case) -> None:
    pixels = load_image(read(case.file), SPEC)
    found = [pixels[y, x].astype(int) for y, x in ((4, 4), (4, 27), (27, 4), (27, 27))]
    tolerance = 1 if case.lossless else CORNER_TOLERANCE
    assert np.abs(np.array(found) - np.array(case.corners)).max() <= tolerance, found


def test_all_eight_orientations_are_the_same_picture() -> None:
    upright = load_image(read("rgb.png"), SPEC)
    for orientation in range(1, 9):
        turned = load_image(read(f"exif-{orientation}.jpg"), SPEC)
        assert difference(turned, upright).mean() <= WHOLE_IMAGE_TOLERANCE, orientation


def test_inks_need_the_adobe_transform_that_the_file_names() -> None:
    """The YCCK file really is one, and its colours are those of the CMYK file."""
    data = read("ycck.jpg")
    assert data[data.index(b"Adobe") + 11] == 2
    assert difference(load_image(data, SPEC), load_image(read("cmyk.jpg"), SPEC)).mean() <= WHOLE_IMAGE_TOLERANCE


def test_draft_decoding_changes_little() -> None:
    data = read("photo.jpg")
    with_draft = load_image(data, SPEC)
    without_draft = load_image(data, SPEC.model_copy(update={"jpeg_draft": False}))
    apart = difference(with_draft, without_draft)
    assert 0 < apart.mean() <= WHOLE_IMAGE_TOLERANCE  # 0 would mean that no draft was decoded


def test_a_turned_draft_is_the_turned_picture() -> None:
    """A large JPEG with an orientation is decoded at a reduced scale, and then turned."""
    data = read("photo.jpg")
    turned = data[:2] + exif_segment(orientation=6) + data[2:]
    stretch = SPEC.model_copy(update={"resize": "stretch"})
    pixels = load_image(turned, stretch)
    clockwise = np.rot90(load_image(data, stretch), k=-1)
    assert difference(pixels, clockwise).mean() <= 0.5
    assert np.abs(pixels[4, 4].astype(int) - BLUE).max() <= CORNER_TOLERANCE  # bottom left came to top left


def exif_segment(orientation: int) -> bytes:
    """Return an APP1 segment with an orientation and nothing else."""
    content = b"Exif\0\0" + b"MM\0*" + struct.pack(">IHHHIHHI", 8, 1, 0x0112, 3, 1, orientation, 0, 0)
    return b"\xff\xe1" + struct.pack(">H", len(content) + 2) + content


@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda refusal: refusal.file)
def test_refused_with_the_right_error(refusal: Refusal) -> None:
    with pytest.raises(ImageError) as raised:
        load_image(read(refusal.file), SPEC)
    assert type(raised.value) is refusal.error


@pytest.mark.skipif(sys.platform != "linux", reason="reads the process's memory from /proc")
def test_memory_comes_back() -> None:
    """Decoding the whole set, draft on and off, peaks below the limit, and again and again keeps nothing.

    Two rounds come first: in the first, glibc learns from what is freed which blocks it had better keep for the next.
    """
    script = """
import re
from pathlib import Path
from linnet.errors import ImageError
from linnet.preprocess import load_image
from tests.golden.make_golden import IMAGES, SPEC

def memory_mb(field):
    return int(re.search(field + r":\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) / 1024

def decode_all():
    for spec in (SPEC, SPEC.model_copy(update={"jpeg_draft": False})):
        for data in files:
            try:
                load_image(data, spec)
            except ImageError:
                pass

files = [path.read_bytes() for path in sorted(IMAGES.iterdir())]
load_image((IMAGES / "rgb.png").read_bytes(), SPEC)
cold = memory_mb("VmRSS")
decode_all()
decode_all()
warm = memory_mb("VmRSS")
for _ in range(10):
    decode_all()
print(memory_mb("VmHWM") - cold, memory_mb("VmRSS") - warm)
"""
    answer = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script],
        cwd=IMAGES.parents[2],
        check=True,
        capture_output=True,
        text=True,
    )
    peak_mb, kept_mb = map(float, answer.stdout.split())
    assert peak_mb < PEAK_LIMIT_MB
    assert kept_mb < KEPT_LIMIT_MB
