"""Every outcome moves exactly one counter, and the counters say what the clients saw."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from service.admission import Admission
from service.app import create_app
from service.problems import PROBLEMS
from service.settings import Settings
from tests.service.bundles import png
from tests.service.running import client_of, service_at

Samples = dict[tuple[str, tuple[str, ...]], float]


def samples(text: str) -> Samples:
    """Return every sample by its name and the sorted values of its labels."""
    return {
        (sample.name, tuple(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def by_label(text: str, name: str, *labels: str) -> dict[tuple[str, ...], float]:
    """Return the values above zero of one metric, summed by some of its labels."""
    found: Counter[tuple[str, ...]] = Counter()
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name == name and sample.value:
                found[tuple(sample.labels[label] for label in labels)] += sample.value  # type: ignore[assignment]
    return dict(found)


def files(*images: bytes) -> list[tuple[str, tuple[str, bytes]]]:
    return [("file", (f"{number}.png", image)) for number, image in enumerate(images)]


Ask = tuple[str, str, dict[str, Any]]  # method, path, what httpx sends

REQUESTS: list[tuple[Ask, tuple[str, int, str]]] = [
    (("POST", "/predict", {"files": files(png())}), ("/predict", 200, "ok")),
    (("POST", "/predict", {"files": files(png(), b"no")}), ("/predict", 200, "ok")),
    (("POST", "/predict", {"files": files(b"no image")}), ("/predict", 415, "unsupported_image")),
    (("POST", "/predict", {}), ("/predict", 400, "malformed_request")),
    (("POST", "/predict", {"files": files(png("poison"))}), ("/predict", 500, "engine_failed")),
    (("GET", "/predict", {}), ("/predict", 405, "method_not_allowed")),
    (("GET", "/models/colours", {}), ("/models/{name}", 200, "ok")),
    (("GET", "/models/birds", {}), ("/models/{name}", 404, "unknown_model")),
    (("GET", "/wp-admin.php", {}), ("(unknown)", 404, "unknown_path")),
    (("GET", "/healthz", {}), ("/healthz", 200, "ok")),
    (("POST", "/v2/models/colours/infer", {"content": b"{"}), ("/v2/models/{name}/infer", 400, "invalid_tensor")),
]


@pytest.mark.parametrize(("ask", "end"), REQUESTS)
def test_a_request_moves_exactly_one_counter(models_dir: Path, ask: Ask, end: tuple[str, int, str]) -> None:
    method, url, request = ask
    route, status, code = end

    async def scenario() -> tuple[httpx.Response, str]:
        async with service_at(models_dir) as client:
            response = await client.request(method, url, **request)
            return response, (await client.get("/metrics")).text

    response, text = asyncio.run(scenario())
    assert response.status_code == status
    assert by_label(text, "linnet_requests_total", "route", "status", "code") == {(route, str(status), code): 1}
    assert by_label(text, "linnet_request_seconds_count", "route") == {(route,): 1}


def test_every_image_is_counted_once(models_dir: Path) -> None:
    async def scenario() -> str:
        async with service_at(models_dir, threads=1024) as client:  # one lane: the images of a request share a batch
            await client.post("/predict", files=files(png("red"), b"no", png("blue"), png("blue")))
            await client.post("/predict", files=files(png("red"), png("poison")))
            await client.post("/predict", files=files(b"no"))
            return (await client.get("/metrics")).text

    text = asyncio.run(scenario())
    assert by_label(text, "linnet_images_total", "outcome") == {
        ("answered",): 3,
        ("unsupported_image",): 2,
        ("engine_failed",): 2,
    }
    assert by_label(text, "linnet_predictions_total", "label") == {("red",): 1, ("blue",): 2}
    found = samples(text)
    for name in ("linnet_decode_seconds_count", "linnet_queue_seconds_count", "linnet_confidence_count"):
        assert found[name, ("colours", "1")] == 3
    assert found["linnet_batch_images_sum", ("colours", "1")] == 3  # the failed batch is not among them
    assert found["linnet_model_served", ("colours", "CPUExecutionProvider", "fp32", "1")] == 1
    assert found["linnet_model_loads_total", ("colours", "loaded", "1")] == 1
    assert found["linnet_ready", ()] == 1
    assert found["linnet_pending_images", ()] == found["linnet_pending_bytes", ()] == 0


def test_a_client_that_leaves_is_an_outcome(models_dir: Path) -> None:
    async def scenario() -> str:
        app = create_app(Settings(models_dir=models_dir))
        async with client_of(app) as client:
            scope: dict[str, Any] = {
                "type": "http", "method": "POST", "path": "/predict", "headers": [], "query_string": b"",
            }  # fmt: skip

            async def receive() -> dict[str, Any]:
                """Return the whole body; in the next turn of the loop the connection is gone."""
                asyncio.get_running_loop().call_soon(scope["state"]["exchange"].leave)
                return {"type": "http.request", "body": png(), "more_body": False}

            async def send(message: Any) -> None:
                raise AssertionError(message)

            await app(scope, receive, send)
            return (await client.get("/metrics")).text

    text = asyncio.run(scenario())
    assert by_label(text, "linnet_requests_total", "route", "status", "code") == {("/predict", "499", "client_gone"): 1}
    assert by_label(text, "linnet_images_total", "outcome") == {("abandoned",): 1}


def test_what_is_pending_is_seen(models_dir: Path) -> None:
    async def scenario() -> Samples:
        app = create_app(Settings(models_dir=models_dir))
        async with client_of(app) as client:
            admission: Admission = app.state.service.admission
            with admission.admit() as hold:
                hold.add_images(2)
                hold.add_bytes(7)
                return samples((await client.get("/metrics")).text)

    found = asyncio.run(scenario())
    assert found["linnet_pending_images", ()] == 3
    assert found["linnet_pending_bytes", ()] == 7


def test_every_code_can_be_a_label() -> None:
    assert all(problem.code.replace("_", "").isalpha() for problem in PROBLEMS.values())
