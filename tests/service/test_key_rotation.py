"""Keys are taken from their files again when these have changed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from service import key_rotation
from service.errors import KeyRefused
from service.key_rotation import KeyFile
from service.keys import Keys
from service.settings import Settings
from tests.service.running import service_at


@pytest.fixture(autouse=True)
def quick_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(key_rotation, "LOOK_EVERY_S", 0.02)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "keys"
    path.write_text("old\n")
    return path


def replace(path: Path, text: str) -> None:
    """Put a new file in the place of another, as a secret is renewed."""
    path.with_suffix(".new").write_text(text)
    path.with_suffix(".new").replace(path)


async def soon(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not holds():
            await asyncio.sleep(0.01)


def test_a_new_key_is_good_and_the_old_one_is_not(models_dir: Path, file: Path) -> None:
    async def scenario() -> list[int]:
        async with service_at(models_dir, api_keys_file=file) as client:

            async def status(key: str) -> int:
                return (await client.get("/models", headers={"x-api-key": key})).status_code

            before = [await status("old"), await status("new")]
            replace(file, "new\n")
            async with asyncio.timeout(10):
                while await status("new") != 200:
                    await asyncio.sleep(0.01)
            return [*before, await status("old"), await status("")]

    assert asyncio.run(scenario()) == [200, 401, 401, 401]


@pytest.mark.parametrize("spoil", [lambda path: path.unlink(), lambda path: replace(path, "# none\n")])
def test_keys_stay_where_their_file_cannot_be_used(
    models_dir: Path, file: Path, spoil: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    def complaints() -> list[str]:
        return [record.message for record in caplog.records if record.levelno == logging.ERROR]

    async def scenario() -> httpx.Response:
        async with service_at(models_dir, api_keys_file=file) as client:
            spoil(file)
            await soon(lambda: bool(complaints()))
            await asyncio.sleep(0.2)  # some looks more
            return await client.get("/models", headers={"x-api-key": "old"})

    assert asyncio.run(scenario()).status_code == 200
    [complaint] = complaints()
    assert complaint.startswith("The API keys stay as they were. The file ")
    assert "LINNET_API_KEYS_FILE" in complaint


def test_a_file_that_is_being_written_is_not_read_yet(file: Path) -> None:
    keys = Keys(Settings(api_keys_file=file))
    watched = KeyFile(keys.ordinary, file)
    with file.open("a") as growing:
        for letter in "long":
            growing.write(letter)
            growing.flush()
            watched.look()
            keys.check({"x-api-key": "old"})
            with pytest.raises(KeyRefused):
                keys.check({"x-api-key": "l"})
    watched.look()
    keys.check({"x-api-key": "long"})


def test_a_file_that_could_not_be_read_for_a_moment_is_tried_again(
    file: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object, **__: object) -> str:
        raise OSError("the share is away")

    keys = Keys(Settings(api_keys_file=file))
    watched = KeyFile(keys.ordinary, file)
    replace(file, "new\n")
    with monkeypatch.context() as away:
        away.setattr(Path, "read_text", fail)
        for _ in range(4):
            watched.look()
    assert len(caplog.records) == 1
    keys.check({"x-api-key": "old"})
    watched.look()
    keys.check({"x-api-key": "new"})


def test_a_file_that_cannot_be_used_holds_up_no_other(models_dir: Path, file: Path, tmp_path: Path) -> None:
    """A leaked key must not stay good for the sake of the administrators' file."""
    admin = tmp_path / "admin"
    admin.write_text("boss\n")

    async def scenario() -> list[int]:
        async with service_at(models_dir, api_keys_file=file, admin_keys_file=admin) as client:

            async def status(key: str) -> int:
                return (await client.get("/models", headers={"x-api-key": key})).status_code

            admin.unlink()
            replace(file, "new\n")
            async with asyncio.timeout(10):
                while await status("old") != 401:
                    await asyncio.sleep(0.01)
            return [await status("new"), await status("boss")]

    assert asyncio.run(scenario()) == [200, 200]
