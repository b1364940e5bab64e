"""The benchmark of `predict_many` holds it against the better of two ways to load a service."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from benchmarks.predict_many import prepare
from linnet_client.images import SMALL_BYTES
from linnet_client.ordered import LARGEST_GROUP
from tests.client.answers import images_of
from tests.service.bundles import CLASSES, png, write_model
from tests.service.running import ROOT, ServerProcess

pytestmark = pytest.mark.alone


def read(request: bytes) -> httpx.Request:
    """Return what was written whole, as a server reads it."""
    head, _, body = request.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    method, path, _ = first.split(" ")
    headers = dict(line.split(": ", 1) for line in lines)
    assert headers["Content-Length"] == str(len(body))
    return httpx.Request(method, f"http://{headers['Host']}{path}", headers=headers, content=body)


def test_small_images_share_forms_and_large_ones_travel_alone(tmp_path: Path) -> None:
    contents = [str(number).encode() for number in range(LARGEST_GROUP + 3)] + [bytes(SMALL_BYTES + 1)]
    files = [tmp_path / str(number) for number in range(len(contents))]
    for file, content in zip(files, contents, strict=True):
        file.write_bytes(content)
    alone, together = (
        [images_of(read(request)) for request in prepare(files, "http://host:1", size)] for size in (1, LARGEST_GROUP)
    )
    assert alone == [[content] for content in contents]
    assert sorted(map(len, together)) == [1, 3, LARGEST_GROUP]
    assert sorted(image for images in together for image in images) == sorted(contents)


@pytest.mark.e2e
def test_the_share_is_of_the_better_way(tmp_path: Path) -> None:
    write_model(tmp_path / "models")
    images = tmp_path / "images"
    images.mkdir()
    for number in range(60):
        (images / f"{number:02}.png").write_bytes(png(CLASSES[number % 3]))
    with ServerProcess(tmp_path / "models") as server:
        command = [sys.executable, "benchmarks/predict_many.py", str(images), "--url", server.url, "--rounds", "2"]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    best = {name: max(rates) for name, rates in answer["images_per_s"].items()}
    assert best.keys() == {"client", "async_client", "load_tool", "load_tool_forms"}
    better = max(best["load_tool"], best["load_tool_forms"])
    assert answer["share"] == {name: round(best[name] / better, 3) for name in ("client", "async_client")}
