from __future__ import annotations

import asyncio
from pathlib import Path

import httpx
import pytest

from service.app import create_app
from service.settings import Settings
from tests.service.bundles import Character, png, write_model
from tests.service.running import client_of


def probe(settings: Settings, *, loaded: bool = True, draining: bool = False) -> dict[str, int]:
    """Return the status of each probe and of a prediction."""

    async def scenario() -> dict[str, int]:
        app = create_app(settings)
        async with client_of(app, loaded=loaded) as client:
            app.state.service.is_draining = draining
            answers = {path: (await client.get(path)).status_code for path in ("/healthz", "/readyz", "/models")}
            answers["/predict"] = (await client.post("/predict", content=png())).status_code
            return answers

    return asyncio.run(scenario())


def test_ready_means_that_the_expected_model_answers(models_dir: Path) -> None:
    assert set(probe(Settings(models_dir=models_dir)).values()) == {200}
    assert set(probe(Settings(models_dir=models_dir, model="colours")).values()) == {200}


def test_loading_does_not_hide_liveness(models_dir: Path) -> None:
    answers = probe(Settings(models_dir=models_dir), loaded=False)
    assert answers == {"/healthz": 200, "/readyz": 503, "/models": 503, "/predict": 503}


def test_draining_is_not_ready_but_answers(models_dir: Path) -> None:
    answers = probe(Settings(models_dir=models_dir), draining=True)
    assert answers == {"/healthz": 200, "/readyz": 503, "/models": 200, "/predict": 200}


def test_nothing_loaded_is_not_ready(tmp_path: Path) -> None:
    answers = probe(Settings(models_dir=tmp_path))
    assert answers == {"/healthz": 200, "/readyz": 503, "/models": 200, "/predict": 503}


def test_another_model_than_the_expected_is_not_ready(models_dir: Path) -> None:
    answers = probe(Settings(models_dir=models_dir, model="birds"))
    assert (answers["/healthz"], answers["/readyz"], answers["/predict"]) == (200, 503, 503)


def test_a_refused_default_is_not_ready(tmp_path: Path) -> None:
    (write_model(tmp_path / "models", "a") / "model.onnx").unlink()
    write_model(tmp_path / "models", "b")
    answers = probe(Settings(models_dir=tmp_path / "models"))
    assert (answers["/healthz"], answers["/readyz"], answers["/predict"]) == (200, 503, 503)


def test_an_older_version_serves_where_the_newest_is_refused(tmp_path: Path) -> None:
    write_model(tmp_path / "models", "a", 1)
    (write_model(tmp_path / "models", "a", 2) / "model.onnx").unlink()
    assert set(probe(Settings(models_dir=tmp_path / "models")).values()) == {200}


def test_every_expected_model_must_answer(tmp_path: Path) -> None:
    write_model(tmp_path / "models", "a")
    (write_model(tmp_path / "models", "b") / "model.onnx").unlink()
    assert probe(Settings(models_dir=tmp_path / "models"))["/readyz"] == 200
    assert probe(Settings(models_dir=tmp_path / "models", models="a"))["/readyz"] == 200
    assert probe(Settings(models_dir=tmp_path / "models", models="a, b"))["/readyz"] == 503


def test_the_first_expected_model_is_the_default(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_model(tmp_path / "models", name)

    async def scenario(settings: Settings) -> str:
        async with client_of(create_app(settings)) as client:
            return str((await client.post("/predict", content=png())).json()["model"])

    models_dir = tmp_path / "models"
    assert asyncio.run(scenario(Settings(models_dir=models_dir, models="b,a"))) == "b"
    assert asyncio.run(scenario(Settings(models_dir=models_dir, models="b,a", model="a"))) == "a"


def test_a_failed_warm_up_is_not_ready(tmp_path: Path) -> None:
    """The network takes batches of three, as many as the self-test has, and no other."""
    write_model(tmp_path / "models", character=Character(batch=3))
    answers = probe(Settings(models_dir=tmp_path / "models", provider="cpu"))
    assert (answers["/healthz"], answers["/readyz"], answers["/predict"]) == (200, 503, 503)


def test_not_ready_says_when_to_come_again(tmp_path: Path) -> None:
    async def scenario() -> httpx.Response:
        async with client_of(create_app(Settings(models_dir=tmp_path))) as client:
            return await client.get("/readyz")

    response = asyncio.run(scenario())
    assert response.headers["retry-after"] == "1"
    assert "holds no bundle" in response.json()["detail"]


@pytest.mark.parametrize("wanted", ["cuda"])
def test_a_provider_that_is_not_there_is_never_ready(models_dir: Path, wanted: str) -> None:
    answers: dict[str, int] = {}

    async def scenario() -> None:
        app = create_app(Settings.model_validate({"models_dir": models_dir, "provider": wanted}))
        async with client_of(app, loaded=False) as client:
            await asyncio.wait([app.state.service.catalogue.loading])
            answers["/healthz"] = (await client.get("/healthz")).status_code
            answers["/readyz"] = (await client.get("/readyz")).status_code

    asyncio.run(scenario())
    assert answers == {"/healthz": 200, "/readyz": 503}
