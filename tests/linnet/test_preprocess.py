"""The documented order, geometry and limits of `load_image`, on pictures made here."""

from __future__ import annotations

import contextlib
import hashlib
import io
import random
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import GifImagePlugin, Image, ImageFile
from pydantic import ValidationError

from linnet.errors import ImageError, ImageTooLarge, UnreadableImage
from linnet.preprocess import PreprocessSpec, load_image
from tests.golden.make_golden import CASES, IMAGES, SPEC
from tests.golden.pictures import BLUE, GREEN, png

Pixels = npt.NDArray[np.uint8]

FILES = sorted({path.name for path in IMAGES.iterdir()} - {"photo.jpg"})


def as_png(pixels: npt.NDArray[Any], **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", **options)
    return buffer.getvalue()


def spec(**changes: Any) -> PreprocessSpec:
    return PreprocessSpec.model_validate({**SPEC.model_dump(), **changes})


def ramp(width: int, height: int) -> Pixels:
    """Return a picture whose red counts columns and whose green counts rows, in percent of 250."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[..., 0] = np.linspace(0, 250, width)[None, :]
    pixels[..., 1] = np.linspace(0, 250, height)[:, None]
    return pixels


def test_the_result_is_rgb_of_the_size_asked_for() -> None:
    pixels = load_image(as_png(ramp(50, 30)), spec(size_px=8))
    assert pixels.shape == (8, 8, 3)
    assert pixels.dtype == np.uint8


def test_an_image_of_the_right_size_is_left_alone() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    for interpolation in ("bilinear", "bicubic"):
        assert np.array_equal(load_image(as_png(noise), spec(interpolation=interpolation)), noise)


def test_crop_keeps_the_middle_square() -> None:
    """Of 96 x 32, columns 32 to 63 remain, unscaled."""
    pixels = ramp(96, 32)
    assert np.array_equal(load_image(as_png(pixels), spec(resize="crop")), pixels[:, 32:64])
    upended = pixels.transpose(1, 0, 2)
    assert np.array_equal(load_image(as_png(upended), spec(resize="crop")), upended[32:64])


def test_stretch_keeps_the_whole_picture() -> None:
    pixels = load_image(as_png(ramp(96, 48)), spec(resize="stretch"))
    assert pixels[0, 0, 0] <= 5
    assert pixels[0, -1, 0] >= 245
    assert pixels[-1, 0, 1] >= 245


def test_crop_fraction_cuts_the_same_share_from_every_side() -> None:
    """Half of a 64 x 64 picture is its middle 32 x 32; of a stretched 128 x 64 its middle 64 x 32."""
    square = ramp(64, 64)
    assert np.array_equal(load_image(as_png(square), spec(crop_fraction=0.5)), square[16:48, 16:48])
    wide = load_image(as_png(ramp(128, 64)), spec(crop_fraction=0.5, resize="stretch"))
    assert wide[:, 0, 0].mean() == pytest.approx(250 * 0.25, abs=3)
    assert wide[:, -1, 0].mean() == pytest.approx(250 * 0.75, abs=3)
    assert wide[0, :, 1].mean() == pytest.approx(250 * 0.25, abs=3)


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_scaling_down_is_antialiased(interpolation: str) -> None:
    """A chessboard of single pixels becomes its mean; without antialias it stays black and white."""
    board = np.indices((320, 320)).sum(axis=0) % 2 * np.uint8(255)
    pixels = load_image(as_png(board.astype(np.uint8)), spec(interpolation=interpolation))
    assert np.abs(pixels.astype(int) - 127.5).max() <= 2


def test_scaling_down_is_a_local_mean() -> None:
    """Noise scaled down tenfold is near the mean of each block: the triangle filter reaches into the neighbours."""
    noise = np.random.default_rng(1).integers(0, 256, (320, 320), dtype=np.uint8)
    means = noise.reshape(32, 10, 32, 10).mean(axis=(1, 3))
    pixels = load_image(as_png(noise), spec())[..., 0].astype(float)
    assert np.corrcoef(pixels.ravel(), means.ravel())[0, 1] > 0.8
    assert pixels.std() < 10  # the noise itself has 74


def test_draft_decoding_leaves_enough_for_the_resize() -> None:
    """On a picture of fine grain the draft stays near the full decode; at the final size it would be 8 levels off."""
    grain = np.random.default_rng(0).integers(0, 256, (256, 256, 3), dtype=np.uint8)
    picture = Image.fromarray(grain).resize((800, 800), Image.Resampling.BICUBIC)
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=90)
    draft = load_image(buffer.getvalue(), spec(size_px=100))
    full = load_image(buffer.getvalue(), spec(size_px=100, jpeg_draft=False))
    assert 0 < np.abs(draft.astype(int) - full).mean() < 4


def test_turning_comes_before_cutting() -> None:
    """An upright cut of a turned picture is not the turned cut, where the fraction is of the stretched sides."""
    pixels = ramp(96, 32)
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = load_image(as_png(np.rot90(pixels), exif=exif), spec())
    assert np.array_equal(turned, load_image(as_png(pixels), spec()))


def test_transparency_is_settled_before_scaling() -> None:
    """The colour under transparent pixels does not bleed into the picture."""
    layers = np.zeros((320, 320, 4), np.uint8)
    layers[..., :3] = GREEN
    layers[:, ::2, 3] = 255
    layers[:, 1::2, :3] = BLUE
    pixels = load_image(as_png(layers), spec(background=(0, 0, 0)))[:, 2:-2]  # the filter is lopsided at the edges
    assert np.abs(pixels.astype(float) - np.array(GREEN) / 2).max() <= 2


@pytest.mark.parametrize("background", [(255, 255, 255), (0, 0, 0), (12, 200, 7)])
def test_background_shows_through(background: tuple[int, int, int]) -> None:
    pixels = load_image(as_png(np.zeros((40, 40, 4), np.uint8)), spec(background=background))
    assert np.array_equal(pixels, np.broadcast_to(np.array(background, np.uint8), (32, 32, 3)))


def test_white_is_the_default_background() -> None:
    assert PreprocessSpec(size_px=8, mean=(0, 0, 0), std=(1, 1, 1)).background == (255, 255, 255)


@pytest.mark.parametrize(("max_pixels", "is_refused"), [(1199, True), (1200, False), (1201, False)])
def test_the_pixel_limit_is_inclusive(max_pixels: int, is_refused: bool) -> None:
    data = as_png(ramp(40, 30))
    if is_refused:
        with pytest.raises(ImageTooLarge, match="1,199 pixels"):
            load_image(data, SPEC, max_pixels=max_pixels)
    else:
        load_image(data, SPEC, max_pixels=max_pixels)


def test_the_pixel_limit_is_decided_before_decoding() -> None:
    """A file without any pixel data is refused for what its header claims."""
    with pytest.raises(ImageTooLarge):
        load_image(png((10_000, 10_000), 8, 2, []), SPEC)
    with pytest.raises(UnreadableImage):
        load_image(png((100, 100), 8, 2, []), SPEC)


def test_sixteen_bits_are_cut_and_not_clipped() -> None:
    values = np.repeat((np.arange(32, dtype=np.uint16) * 2048 + 255)[None, :], 32, axis=0)
    assert np.array_equal(load_image(as_png(values), SPEC)[..., 0], (values >> 8).astype(np.uint8))


def test_a_header_that_claims_more_rows_than_there_are() -> None:
    """Pillow fills in black; another version may refuse. Either is an answer; a crash is not."""
    data = png((8, 80), 8, 0, [bytes([200] * 8)] * 8)
    with contextlib.suppress(UnreadableImage):
        assert load_image(data, spec(resize="stretch"))[0, 0].tolist() == [200, 200, 200]


def test_pillow_stays_silent() -> None:
    """Damaged metadata and large sizes reach no stderr, nor do they change the answer where warnings are errors."""
    script = """
from linnet.errors import ImageTooLarge
from linnet.preprocess import load_image
from tests.golden.make_golden import IMAGES, SPEC
from tests.golden.pictures import png
print(load_image((IMAGES / "exif-broken.jpg").read_bytes(), SPEC).mean())
try:
    load_image(png((10_000, 10_000), 8, 2, []), SPEC)
except ImageTooLarge as error:
    print(error)
"""
    for options in ([], ["-W", "error"]):
        answer = subprocess.run(
            [sys.executable, *options, "-c", script], cwd=IMAGES.parents[2], check=True, capture_output=True, text=True
        )
        assert answer.stderr == ""
        mean, refusal = answer.stdout.splitlines()
        assert float(mean) == pytest.approx(load_image((IMAGES / "rgb.png").read_bytes(), SPEC).mean(), abs=2)
        assert "50,000,000 pixels" in refusal


@pytest.mark.parametrize(
    "change",
    [{"size_px": 7}, {"size_px": 4096}, {"crop_fraction": 0.0}, {"crop_fraction": 1.1}, {"background": (0, 0, 256)},
     {"resize": "pad"}, {"interpolation": "nearest"}, {"sharpen": True}],
)  # fmt: skip
def test_a_spec_without_meaning_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        spec(**change)


@settings(max_examples=50, deadline=None)
@given(
    width=st.integers(1, 200),
    height=st.integers(1, 200),
    fraction=st.floats(0.01, 1.0),
    resize=st.sampled_from(["crop", "stretch"]),
)
def test_every_geometry_gives_a_square(width: int, height: int, fraction: float, resize: str) -> None:
    pixels = load_image(
        as_png(np.full((height, width, 3), 77, np.uint8)), spec(size_px=8, crop_fraction=fraction, resize=resize)
    )
    assert np.array_equal(pixels, np.full((8, 8, 3), 77, np.uint8))


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    file=st.sampled_from(FILES),
    cut=st.floats(0.0, 1.0) | st.none(),
    changes=st.lists(st.tuples(st.floats(0.0, 1.0, exclude_max=True), st.integers(0, 255)), max_size=6),
    in_header=st.booleans(),
)
@pytest.mark.filterwarnings("ignore")
def test_damaged_files_give_an_array_or_an_image_error(
    file: str, cut: float | None, changes: list[tuple[float, int]], in_header: bool
) -> None:
    data = bytearray((IMAGES / file).read_bytes())
    reach = min(len(data), 200) if in_header else len(data)
    for place, value in changes:
        if reach:
            data[int(place * reach)] = value
    if cut is not None:
        del data[int(cut * len(data)) :]
    try:
        pixels = load_image(bytes(data), SPEC, max_pixels=1_000_000)
    except ImageError as error:
        assert "\n" not in str(error)
    else:
        assert pixels.shape == (32, 32, 3)
        assert pixels.dtype == np.uint8


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200))
def test_noise_is_refused(data: bytes) -> None:
    with pytest.raises(ImageError):
        load_image(data, SPEC)


def test_threads_get_the_pixels_of_their_own_image() -> None:
    datas = [(IMAGES / case.file).read_bytes() for case in CASES if case.file != "exif-broken.jpg"]
    alone = [load_image(data, SPEC) for data in datas]
    order = list(range(len(datas))) * 4
    random.Random(0).shuffle(order)
    start = threading.Barrier(8)

    def load(index: int) -> tuple[int, Pixels]:
        return index, load_image(datas[index], SPEC)

    with ThreadPoolExecutor(8, initializer=start.wait) as pool:
        for index, pixels in pool.map(load, order):
            assert np.array_equal(pixels, alone[index])


def test_nothing_global_changes() -> None:
    """Pillow's switches, the warning filters and the bytes given are as before."""

    def state() -> tuple[object, ...]:
        return (
            Image.MAX_IMAGE_PIXELS,
            ImageFile.LOAD_TRUNCATED_IMAGES,
            ImageFile.MAXBLOCK,
            GifImagePlugin.LOADING_STRATEGY,
            tuple(map(str, warnings.filters)),
            hashlib.sha256(b"".join(datas)).hexdigest(),
        )

    datas = [(IMAGES / file).read_bytes() for file in FILES]
    before = state()
    for data in datas:
        attempt(lambda data=data: load_image(data, SPEC))  # type: ignore[misc]
    assert state() == before


def attempt(action: Callable[[], object]) -> None:
    with contextlib.suppress(ImageError):
        action()
