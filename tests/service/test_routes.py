"""Every endpoint and every answer of `POST /predict`, in this event loop."""

from __future__ import annotations

import asyncio
import base64
import json
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from linnet.bundle import read_manifest
from linnet.manifest import Manifest
from linnet.preprocess import load_image
from linnet.session import Placement, open_network
from service.app import create_app
from service.schemas import ModelsBody, PredictBody, ProblemBody
from service.settings import Settings
from tests.service.bundles import CLASSES, METRICS, png, write_model
from tests.service.running import client_of, service_at


def call(models_dir: Path, method: str, url: str, *, settings: dict[str, Any] | None = None, **request: Any) -> Any:
    """Send one request to a service with these settings."""

    async def scenario() -> httpx.Response:
        async with service_at(models_dir, **settings or {}) as client:
            return await client.request(method, url, **request)

    return asyncio.run(scenario())


def predict(models_dir: Path, url: str = "/predict", *, settings: dict[str, Any] | None = None, **request: Any) -> Any:
    return call(models_dir, "POST", url, settings=settings, **request)


def files(*images: bytes) -> list[tuple[str, tuple[str, bytes]]]:
    return [("file", (f"{number}.png", image)) for number, image in enumerate(images)]


def code_of(response: httpx.Response) -> tuple[int, str]:
    """Return status and code of a problem, whose format is checked."""
    assert response.headers["content-type"] == "application/problem+json"
    problem = ProblemBody.model_validate_json(response.content)
    assert problem.status == response.status_code
    assert problem.request_id == response.headers["x-request-id"]
    return response.status_code, problem.code


FORMS: dict[str, dict[str, Any]] = {
    "multipart": {"files": files(png("green"))},
    "raw": {"content": png("green"), "headers": {"content-type": "image/png"}},
    "octets": {"content": png("green"), "headers": {"content-type": "application/octet-stream"}},
    "untyped": {"content": png("green")},
    "json": {"json": {"images": [base64.b64encode(png("green")).decode()]}},
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_a_request_gives_the_same_answer(models_dir: Path, form: str) -> None:
    response = predict(models_dir, **FORMS[form])
    assert response.status_code == 200
    body = PredictBody.model_validate_json(response.content)
    assert (body.model, body.version, body.variant) == ("colours", "1", "fp32")
    assert body.request_id == response.headers["x-request-id"]
    prediction = response.json()["predictions"][0]
    assert prediction["filename"] == ("0.png" if form == "multipart" else None)
    assert (prediction["label"], prediction["uncertain"]) == ("green", False)
    assert prediction["confidence"] == prediction["top"][0]["probability"] > 0.9


def test_the_answer_is_the_network_s(models_dir: Path) -> None:
    directory = models_dir / "colours" / "1"
    manifest: Manifest = read_manifest(directory)
    image = load_image(png("blue"), manifest.preprocess)
    expected = open_network(directory / "model.onnx", Placement("cpu"))(image[np.newaxis]).probabilities[0]
    top = predict(models_dir, files=files(png("blue"))).json()["predictions"][0]["top"]
    assert {score["label"]: score["probability"] for score in top} == pytest.approx(
        dict(zip(CLASSES, expected.tolist(), strict=True)), abs=1e-6
    )


def test_order_is_kept_and_a_bad_image_spoils_no_other(models_dir: Path) -> None:
    colours = ["red", "blue", "green", "blue", "red"] * 4
    images = [png(colour) for colour in colours]
    images[3] = b"no image"
    images[11] = png("red", (300, 300), "JPEG")[:400]
    response = predict(models_dir, files=files(*images), settings={"max_batch_size": 3})
    assert response.status_code == 200
    answers = response.json()["predictions"]
    assert [answer["filename"] for answer in answers] == [f"{number}.png" for number in range(20)]
    assert {number: answer["error"]["code"] for number, answer in enumerate(answers) if "error" in answer} == {
        3: "unsupported_image",
        11: "unreadable_image",
    }
    good = [(answer["label"], colour) for answer, colour in zip(answers, colours, strict=True) if "label" in answer]
    assert len(good) == 18
    assert all(label == colour for label, colour in good)


@pytest.mark.parametrize(("top_k", "count"), [(1, 1), (2, 2), (3, 3), (4, 3), (10**9, 3)])
def test_top_k(models_dir: Path, top_k: int, count: int) -> None:
    response = predict(models_dir, f"/predict?top_k={top_k}", files=files(png()))
    assert len(response.json()["predictions"][0]["top"]) == count


@pytest.mark.parametrize(
    ("url", "request_", "expected"),
    [
        ("/predict?top_k=0", {"files": files(png())}, (400, "malformed_request")),
        ("/predict?top_k=many", {"files": files(png())}, (400, "malformed_request")),
        ("/predict", {}, (400, "malformed_request")),
        ("/predict?model=birds", {"files": files(png())}, (404, "unknown_model")),
        ("/predict?version=7", {"files": files(png())}, (404, "unknown_version")),
        ("/predict", {"data": {"file": "x"}}, (415, "unsupported_media_type")),
        ("/predict", {"content": b"a", "headers": {"content-type": "text/html"}}, (415, "unsupported_media_type")),
        ("/predict", {"content": png(), "headers": {"content-encoding": "gzip"}}, (415, "unsupported_encoding")),
        ("/predict", {"files": files(b"no image")}, (415, "unsupported_image")),
        ("/predict", {"files": files(b"")}, (415, "unsupported_image")),
        ("/predict", {"files": files(png("red", (300, 300), "JPEG")[:400])}, (422, "unreadable_image")),
        ("/predict", {"files": files(png("red", (101, 100)))}, (413, "image_too_large")),
        ("/predict", {"files": files(png(), png(), png())}, (413, "too_many_images")),
        ("/predict", {"content": b"x" * 20_001}, (413, "body_too_large")),
    ],
)
def test_problems(models_dir: Path, url: str, request_: dict[str, Any], expected: tuple[int, str]) -> None:
    settings = {"max_images": 2, "max_pixels": 10_000, "max_body_bytes": 20_000}
    assert code_of(predict(models_dir, url, settings=settings, **request_)) == expected


def test_an_image_of_the_largest_size_is_read(models_dir: Path) -> None:
    response = predict(models_dir, settings={"max_pixels": 10_000}, files=files(png("red", (100, 100))))
    assert response.status_code == 200


def test_what_could_never_be_admitted_is_too_large_not_too_much(models_dir: Path) -> None:
    settings = {"max_pending_images": 2, "max_pending_bytes": 1000}
    three = predict(models_dir, settings=settings, json={"images": ["", "", ""]})
    assert code_of(three) == (413, "too_many_images")
    assert code_of(predict(models_dir, settings=settings, content=b"x" * 1001)) == (413, "body_too_large")


def test_unknown_paths_and_methods(models_dir: Path) -> None:
    assert code_of(call(models_dir, "GET", "/nothing")) == (404, "unknown_path")
    response = call(models_dir, "GET", "/predict")
    assert code_of(response) == (405, "method_not_allowed")
    assert response.headers["allow"] == "POST"


@pytest.mark.parametrize(("sent", "is_kept"), [("abc-1.2:3", True), ("x" * 129, False), ("a b", False), ("ü", False)])
def test_request_ids(models_dir: Path, sent: str, is_kept: bool) -> None:
    response = call(models_dir, "GET", "/healthz", headers={"x-request-id": sent.encode()})
    assert (response.headers["x-request-id"] == sent) == is_kept
    assert len(response.headers["x-request-id"]) >= 9


def test_models(tmp_path: Path) -> None:
    for name, version in (("a", 2), ("a", 10), ("b", 1)):
        write_model(tmp_path / "models", name, version)
    (tmp_path / "models" / "b" / "1" / "model.onnx").unlink()
    listed = call(tmp_path / "models", "GET", "/models").json()
    ModelsBody.model_validate(listed)
    assert [(m["name"], m["version"], m["default"], m["state"]) for m in listed["models"]] == [
        ("a", "2", False, "ready"),
        ("a", "10", True, "ready"),
        ("b", "1", False, "failed"),
    ]
    assert listed["models"][1] | {} == {
        "name": "a",
        "version": "10",
        "default": True,
        "state": "ready",
        "classes": list(CLASSES),
        "input_size": 16,
        "variant": "fp32",
        "fallback": None,
        "provider": "CPUExecutionProvider",
        "metrics": METRICS | {"f1": None},
    }
    one = call(tmp_path / "models", "GET", "/models/b").json()
    assert [model["name"] for model in one["models"]] == ["b"]
    assert code_of(call(tmp_path / "models", "GET", "/models/c")) == (404, "unknown_model")
    assert code_of(predict(tmp_path / "models", "/predict?model=b", files=files(png()))) == (503, "model_unavailable")


def test_a_failing_network_fails_its_batch_and_nothing_after_it(
    models_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> list[httpx.Response]:
        async with service_at(models_dir) as client:
            bodies = [files(png("poison")), files(png("red"), png("poison")), files(png("red"))]
            return [await client.post("/predict", files=body) for body in bodies]

    alone, together, after = asyncio.run(scenario())
    assert code_of(alone) == code_of(together) == (500, "engine_failed")
    assert after.status_code == 200
    assert "Gather" not in alone.text
    assert "Gather" in caplog.text


def test_an_unexpected_failure_tells_the_client_nothing(models_dir: Path) -> None:
    async def scenario() -> httpx.Response:
        app = create_app(Settings(models_dir=models_dir))
        async with client_of(app) as client:
            app.state.service.admission = None  # a defect, as it were
            return await client.post("/predict", files=files(png()))

    response = asyncio.run(scenario())
    assert code_of(response) == (500, "internal_error")
    assert "NoneType" not in response.text


def test_the_openapi_document_names_the_three_forms(models_dir: Path) -> None:
    document = call(models_dir, "GET", "/openapi.json").json()
    assert set(document["paths"]["/predict"]["post"]["requestBody"]["content"]) == {
        "multipart/form-data",
        "image/*",
        "application/octet-stream",
        "application/json",
    }
    assert "HTTPValidationError" not in json.dumps(document["paths"])
    assert call(models_dir, "GET", "/docs").status_code == 200
