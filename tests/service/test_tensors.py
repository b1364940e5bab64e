"""A request of the Open Inference Protocol is checked before it costs anything."""

from __future__ import annotations

import json
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from linnet.bundle import read_manifest
from linnet.manifest import Manifest
from service.v2.errors import InvalidTensor
from service.v2.tensors import Question, read_question
from tests.service.bundles import SIDE_PX, write_model

COUNT = SIDE_PX * SIDE_PX * 3


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    return read_manifest(write_model(tmp_path_factory.mktemp("tensors") / "models"))


def read(manifest: Manifest, data: Any, outputs: list[str] | None = None) -> Question:
    tensor = {"name": "image", "datatype": "UINT8", "shape": [1, SIDE_PX, SIDE_PX, 3], "data": data}
    request = {"inputs": [tensor], "outputs": [{"name": name} for name in outputs or ["probabilities"]]}
    return read_question(json.dumps(request).encode(), None, manifest)


def test_numbers_are_pixels_flat_or_nested(manifest: Manifest) -> None:
    flat = [index % 256 for index in range(COUNT)]
    rows = [flat[start : start + 3] for start in range(0, COUNT, 3)]
    nested = [[rows[start : start + SIDE_PX] for start in range(0, len(rows), SIDE_PX)]]
    for data in (flat, nested):
        assert read(manifest, data).images.ravel().tolist() == flat


@pytest.mark.parametrize("odd", [-1, 256, 2**64 - 1, 1.0, True, "1", None, [1]])
def test_what_is_no_pixel_is_refused(manifest: Manifest, odd: object) -> None:
    with pytest.raises(InvalidTensor, match=r"^.*data (has values that are not whole|is not a regular|has \d+ values)"):
        read(manifest, [odd, *[0] * (COUNT - 1)])


def test_one_long_text_among_short_ones_does_not_cost_its_length_for_each(manifest: Manifest) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(InvalidTensor, match="not whole numbers"):
            read(manifest, ["x" * 200_000, *[""] * (COUNT - 1)])
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()


def test_lists_are_gone_before_those_of_another_request_come(manifest: Manifest) -> None:
    """Also where they are refused: errors hold the frames they came through."""
    tensor = {"name": "image", "datatype": "UINT8", "shape": [1, SIDE_PX, SIDE_PX, 3], "data": [[0]] * 50_000}
    body = json.dumps({"inputs": [tensor]}).encode()

    def refused() -> Exception:
        with pytest.raises(InvalidTensor) as caught:
            read_question(body, None, manifest)
        return caught.value

    def peak_bytes(count: int) -> int:
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        with ThreadPoolExecutor(count) as pool:
            kept = list(pool.map(lambda _: refused(), range(count)))
        assert len(kept) == count
        return tracemalloc.get_traced_memory()[1] - before

    tracemalloc.start()
    try:
        one = peak_bytes(1)
        assert one > 2_000_000
        assert peak_bytes(8) < 1.5 * one
    finally:
        tracemalloc.stop()


def test_an_output_is_asked_for_once(manifest: Manifest) -> None:
    assert len(read(manifest, [0] * COUNT, ["probabilities", "embedding"]).outputs) == 2
    with pytest.raises(InvalidTensor, match="'embedding' is asked for twice"):
        read(manifest, [0] * COUNT, ["embedding", "probabilities", "embedding"])


@pytest.mark.parametrize("key", ["inputs", "outputs"])
def test_one_error_is_enough(manifest: Manifest, key: str) -> None:
    tensor = {"name": "image", "datatype": "UINT8", "shape": [1, SIDE_PX, SIDE_PX, 3], "data": []}
    body = json.dumps({"inputs": [tensor], key: [1] * 200_000}).encode()
    tracemalloc.start()
    try:
        with pytest.raises(InvalidTensor, match=rf"{key}\.0"):
            read_question(body, None, manifest)
        assert tracemalloc.get_traced_memory()[1] < 20_000_000
    finally:
        tracemalloc.stop()
