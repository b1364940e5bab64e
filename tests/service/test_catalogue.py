"""Models come and go while requests are answered."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from linnet.bundle import bundle_directories, sha256_of
from service.app import create_app
from service.catalogue import Catalogue
from service.settings import Settings
from tests.service.bundles import png, write_model
from tests.service.running import client_of, service_at

ADMIN = {"x-api-key": "admin"}
SETTINGS: dict[str, Any] = {"admin_keys": SecretStr("admin"), "provider": "cpu"}


async def change(client: httpx.AsyncClient, name: str, verb: str) -> httpx.Response:
    return await client.post(f"/v2/repository/models/{name}/{verb}", headers=ADMIN)


async def predict(client: httpx.AsyncClient, url: str = "/predict") -> httpx.Response:
    return await client.post(url, content=png("green"))


def damage(bundle: Path) -> None:
    network = bundle / "model.onnx"
    network.write_bytes(network.read_bytes()[:-1])


def test_a_version_that_is_new_in_the_folder_is_loaded_on_demand(tmp_path: Path) -> None:
    models = tmp_path / "models"
    write_model(models, "a", 1)

    async def scenario() -> list[str]:
        async with service_at(models, **SETTINGS) as client:
            write_model(models, "a", 2)
            found = [(await predict(client)).json()["version"]]
            assert (await change(client, "a", "load")).status_code == 200
            found.append((await predict(client)).json()["version"])
            shutil.rmtree(models / "a" / "2")
            assert (await change(client, "a", "load")).status_code == 200
            found.append((await predict(client)).json()["version"])
            return found

    assert asyncio.run(scenario()) == ["1", "2", "1"]


def test_a_corrupt_reload_keeps_the_old_version(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    models = tmp_path / "models"
    bundle = write_model(models, "a", 1)

    async def scenario() -> tuple[httpx.Response, httpx.Response, httpx.Response]:
        async with service_at(models, **SETTINGS) as client:
            damage(bundle)
            return await change(client, "a", "load"), await predict(client), await client.get("/readyz")

    load, answer, ready = asyncio.run(scenario())
    assert load.status_code == 422
    assert "what served before goes on serving" in load.json()["error"]
    assert "bytes instead of" in load.json()["error"]
    assert (answer.status_code, ready.status_code) == (200, 200)
    assert [record.levelname for record in caplog.records] == ["ERROR"]


def test_a_corrupt_new_version_is_refused_and_the_old_one_serves(tmp_path: Path) -> None:
    models = tmp_path / "models"
    write_model(models, "a", 1)

    async def scenario() -> tuple[httpx.Response, httpx.Response, httpx.Response]:
        async with service_at(models, **SETTINGS) as client:
            damage(write_model(models, "a", 2))
            load = await change(client, "a", "load")
            return load, await predict(client), await predict(client, "/predict?version=2")

    load, answer, refused = asyncio.run(scenario())
    assert load.status_code == 422
    assert "this version is not served" in load.json()["error"]
    assert answer.json()["version"] == "1"
    assert (refused.status_code, refused.json()["code"]) == (503, "model_unavailable")


def test_an_unloaded_model_is_gone_until_it_is_loaded(tmp_path: Path) -> None:
    models = tmp_path / "models"
    for name in ("a", "b"):
        write_model(models, name)

    async def scenario() -> tuple[list[int], list[str]]:
        async with service_at(models, **SETTINGS) as client:
            statuses = []
            for verb in ("unload", "unload", "load"):
                statuses.append((await change(client, "a", verb)).status_code)
                statuses += [(await client.get("/readyz")).status_code, (await predict(client)).status_code]
            await change(client, "b", "unload")
            states = [model["state"] for model in (await client.get("/models")).json()["models"]]
            return statuses, states

    statuses, states = asyncio.run(scenario())
    assert statuses == [200, 503, 404, 200, 503, 404, 200, 200, 200]
    assert states == ["ready", "unloaded"]


def test_polling_finds_what_is_new_changed_and_gone(tmp_path: Path) -> None:
    models = tmp_path / "models"
    write_model(models, "a", 1)

    async def until(client: httpx.AsyncClient, expected: dict[str, str]) -> None:
        for _ in range(100):
            listed = (await client.get("/models")).json()["models"]
            if {f"{model['name']}/{model['version']}": model["state"] for model in listed} == expected:
                return
            await asyncio.sleep(0.02)
        raise AssertionError(listed)

    async def scenario() -> None:
        async with service_at(models, poll_s=0.02, **SETTINGS) as client:
            write_model(models, "a", 2)
            await until(client, {"a/1": "ready", "a/2": "ready"})
            damage(write_model(models, "b", 1))
            await until(client, {"a/1": "ready", "a/2": "ready", "b/1": "failed"})
            shutil.rmtree(models / "b")
            shutil.rmtree(models / "a" / "2")
            await until(client, {"a/1": "ready"})
            await change(client, "a", "unload")
            await asyncio.sleep(0.1)
            await until(client, {"a/1": "unloaded"})
            os.utime(models / "a" / "1" / "bundle.json")
            await until(client, {"a/1": "ready"})

    asyncio.run(scenario())


def test_swaps_and_unloads_under_load_lose_no_request(tmp_path: Path) -> None:
    """While `a` is loaded anew and `b` comes and goes: `a` always answers, `b` answers or is said to be unloaded."""
    models = tmp_path / "models"
    for name in ("a", "b"):
        write_model(models, name)

    async def ask(client: httpx.AsyncClient, name: str, stop: asyncio.Event, ends: Counter[Any]) -> None:
        while not stop.is_set():
            await asyncio.sleep(0)  # a refusal in this very loop suspends nowhere, and would let nobody else run
            response = await predict(client, f"/predict?model={name}")
            body = response.json()
            ends[name, response.status_code, body.get("code")] += 1
            if response.status_code == 200:
                assert (body["model"], body["predictions"][0]["label"]) == (name, "green")

    async def scenario() -> Counter[Any]:
        ends: Counter[Any] = Counter()
        stop = asyncio.Event()
        async with service_at(models, **SETTINGS) as client:
            asking = [asyncio.create_task(ask(client, name, stop, ends)) for name in "aabb" * 3]
            for _ in range(8):
                for name, verb in (("a", "load"), ("b", "unload"), ("b", "load")):
                    assert (await change(client, name, verb)).status_code == 200
            stop.set()
            await asyncio.gather(*asking)
        return ends

    ends = asyncio.run(scenario())
    assert set(ends) == {("a", 200, None), ("b", 200, None), ("b", 404, "model_unloaded")}
    assert min(ends.values()) > 5


def test_a_model_in_use_is_not_let_go(tmp_path: Path) -> None:
    models = tmp_path / "models"
    write_model(models, "a")

    async def scenario() -> None:
        app = create_app(Settings(models_dir=models, **SETTINGS))
        async with client_of(app):
            catalogue: Catalogue = app.state.service.catalogue
            model = catalogue.repository.resolve("a", None)
            with model.leases.hold():
                unloading = asyncio.create_task(catalogue.unload("a"))
                await asyncio.sleep(0.05)
                assert not unloading.done()
                assert not catalogue.repository.serves("a")
            await unloading

    asyncio.run(scenario())


def test_a_look_at_the_folder_that_fails_is_not_the_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    models = tmp_path / "models"
    write_model(models, "a", 1)
    failures = iter([OSError(errno.ESTALE, "Stale file handle")])

    def failing(models_dir: Path) -> Any:
        error = next(failures, None)
        if error is not None:
            raise error
        return bundle_directories(models_dir)

    async def scenario() -> str:
        async with service_at(models, **SETTINGS, poll_s=0.05) as client:
            monkeypatch.setattr("service.catalogue.bundle_directories", failing)
            await asyncio.sleep(0.2)
            write_model(models, "a", 2)
            async with asyncio.timeout(10):
                while (version := (await predict(client)).json()["version"]) != "2":
                    await asyncio.sleep(0.02)
            return str(version)

    assert asyncio.run(scenario()) == "2"
    assert "The models folder could not be looked at" in caplog.text


def test_a_bundle_that_could_not_be_read_is_looked_at_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    models = tmp_path / "models"
    write_model(models, "a", 1)
    failures = iter([OSError(errno.ESTALE, "Stale file handle")])

    def failing(path: Path) -> str:
        error = next(failures, None) if path.parent.name == "2" else None  # not while it is written
        if error is not None:
            raise error
        return sha256_of(path)

    async def scenario() -> None:
        async with service_at(models, **SETTINGS, poll_s=0.05) as client:
            monkeypatch.setattr("linnet.bundle.sha256_of", failing)
            write_model(models, "a", 2)
            async with asyncio.timeout(10):
                while (await predict(client)).json()["version"] != "2":
                    await asyncio.sleep(0.02)

    asyncio.run(scenario())
    assert next(failures, None) is None


def test_a_folder_that_is_away_is_no_empty_folder(tmp_path: Path) -> None:
    models = tmp_path / "models"
    write_model(models, "a", 1)

    async def scenario() -> list[int]:
        async with service_at(models, **SETTINGS, poll_s=0.05) as client:
            models.rename(tmp_path / "away")
            await asyncio.sleep(0.3)
            statuses = [(await predict(client)).status_code]
            (tmp_path / "away").rename(models)
            await asyncio.sleep(0.2)
            return [*statuses, (await predict(client)).status_code]

    assert asyncio.run(scenario()) == [200, 200]


def test_a_mistake_of_its_caller_is_no_matter_for_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_model(tmp_path / "models", "a", 1)

    async def scenario() -> int:
        async with service_at(tmp_path / "models", **SETTINGS) as client:
            return (await change(client, "typo", "load")).status_code

    assert asyncio.run(scenario()) == 404
    assert [record for record in caplog.records if record.levelname == "CRITICAL"] == []
