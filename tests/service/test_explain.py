"""POST /explain on the tiny network, whose evidence for a colour lies where the colour is."""

from __future__ import annotations

import asyncio
import io
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from service.app import create_app
from service.schemas import ExplainBody
from service.settings import Settings
from tests.service.bundles import SIDE_PX, png
from tests.service.running import client_of, service_at


def halves() -> bytes:
    """Return an image that is red on the left and grey on the right."""
    image = np.full((32, 32, 3), 120, np.uint8)
    image[:, :16] = (250, 10, 10)
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return buffer.getvalue()


def explain(models_dir: Path, query: str = "", content: bytes | None = None, **settings: Any) -> httpx.Response:
    async def scenario() -> httpx.Response:
        async with service_at(models_dir, **settings) as client:
            return await client.post(f"/explain{query}", content=content or halves())

    return asyncio.run(scenario())


def test_the_evidence_for_red_is_where_the_red_is(models_dir: Path) -> None:
    response = explain(models_dir, "?format=json")
    assert response.status_code == 200
    body = ExplainBody.model_validate_json(response.content)
    assert (body.model, body.label, body.method) == ("colours", "red", "occlusion")
    grid = np.array(body.grid)
    assert grid.shape == (7, 7)
    assert (grid.min() >= 0, grid.max()) == (True, 1)
    assert grid[:, :3].mean() > 0.5
    assert grid[:, 4:].mean() < 0.1
    assert response.headers["server-timing"].startswith("decode")


def test_a_picture_is_the_network_s_input_with_the_map_over_it(models_dir: Path) -> None:
    response = explain(models_dir)
    assert response.headers["content-type"] == "image/png"
    with Image.open(io.BytesIO(response.content)) as image:
        pixels = np.asarray(image.convert("RGB")).astype(int)
    assert pixels.shape == (SIDE_PX, SIDE_PX, 3)
    redness = pixels[..., 0] - pixels[..., 2]
    assert redness[:, :6].mean() > 100 > abs(redness[:, 12:].mean())


def test_another_class_can_be_asked_for(models_dir: Path) -> None:
    assert explain(models_dir, "?format=json&class=blue").json()["label"] == "blue"


@pytest.mark.parametrize(
    ("query", "content", "code"),
    [
        ("?class=violet", None, "unknown_class"),
        ("?format=gif", None, "malformed_request"),
        ("?model=birds", None, "unknown_model"),
        ("", b"no image", "unsupported_image"),
        ("", png("poison"), "engine_failed"),
    ],
)
def test_problems(models_dir: Path, query: str, content: bytes | None, code: str) -> None:
    assert explain(models_dir, query, content).json()["code"] == code


def test_one_image_at_a_time(models_dir: Path) -> None:
    async def scenario() -> httpx.Response:
        async with service_at(models_dir) as client:
            return await client.post("/explain", files=[("file", png()), ("file", png())])

    assert asyncio.run(scenario()).json()["code"] == "too_many_images"


@pytest.mark.parametrize("room", [1, 20])
def test_covered_images_are_answered_a_few_at_a_time_where_there_is_little_room(models_dir: Path, room: int) -> None:
    few, many = (explain(models_dir, "?format=json", max_pending_images=images) for images in (room, 256))
    assert (few.status_code, few.json()["grid"]) == (200, many.json()["grid"])


def test_covered_images_count_as_pending(models_dir: Path) -> None:
    async def scenario() -> httpx.Response:
        app = create_app(Settings(models_dir=models_dir, max_pending_images=60))
        async with client_of(app) as client:
            with app.state.service.admission.admit() as others:
                others.add_images(29)
                return await client.post("/explain", content=halves())

    response = asyncio.run(scenario())
    assert (response.status_code, response.json()["code"]) == (503, "overloaded")
