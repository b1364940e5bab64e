from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.service.bundles import png
from tests.service.running import service_at


def predict(models_dir: Path, headers: dict[str, str], **settings: Any) -> httpx.Response:
    async def scenario() -> httpx.Response:
        async with service_at(models_dir, **settings) as client:
            files = [("file", ("a.png", png("green", (900, 900)))) for _ in range(8)]
            return await client.post("/predict", files=files, headers=headers)

    return asyncio.run(scenario())


def test_a_client_may_ask_for_less_time(models_dir: Path) -> None:
    response = predict(models_dir, {"x-timeout-ms": "1"})
    assert (response.status_code, response.json()["code"]) == (504, "deadline_exceeded")
    assert "within 1 ms" in response.json()["detail"]


def test_a_client_does_not_get_more_time_than_there_is(models_dir: Path) -> None:
    assert predict(models_dir, {"x-timeout-ms": "60000"}, timeout_ms=1).status_code == 504


@pytest.mark.parametrize("value", ["0", "-1", "1.5", "soon", "", "9" * 30])
def test_a_time_that_is_none_is_refused(models_dir: Path, value: str) -> None:
    response = predict(models_dir, {"x-timeout-ms": value})
    assert (response.status_code, response.json()["code"]) == (400, "malformed_request")


def test_every_answer_times_itself_and_protects_the_browser(models_dir: Path) -> None:
    response = predict(models_dir, {})
    stages = [part.split(";dur=")[0] for part in response.headers["server-timing"].split(", ")]
    assert stages == ["decode", "queue", "inference", "total"]
    assert response.headers["x-content-type-options"] == "nosniff"
    assert "default-src 'none'" in response.headers["content-security-policy"]
