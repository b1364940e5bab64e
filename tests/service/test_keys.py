from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from service.keys import Keys
from service.settings import Settings
from service.start_errors import InvalidSetting, UnreadableKeys
from tests.service.bundles import png
from tests.service.running import service_at

USER, ADMIN = "user-key", "admin-key"
KEYS: dict[str, Any] = {"api_keys": SecretStr(f"other, {USER}"), "admin_keys": SecretStr(ADMIN)}
LOAD = "/v2/repository/models/colours/load"


def ask(models_dir: Path, method: str, url: str, settings: dict[str, Any], **request: Any) -> httpx.Response:
    async def scenario() -> httpx.Response:
        async with service_at(models_dir, **settings) as client:
            return await client.request(method, url, **request)

    return asyncio.run(scenario())


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"authorization": f"Bearer {USER}"}, 200),
        ({"authorization": f"bearer  {USER} "}, 200),
        ({"x-api-key": USER}, 200),
        ({"x-api-key": "other"}, 200),
        ({"x-api-key": ADMIN}, 200),
        ({"x-api-key": ""}, 401),
        ({"x-api-key": f"{USER}x"}, 401),
        ({"x-api-key": f"other, {USER}"}, 401),
        ({"authorization": f"Basic {USER}"}, 401),
    ],
)
def test_a_request_needs_a_key(models_dir: Path, headers: dict[str, str], status: int) -> None:
    response = ask(models_dir, "POST", "/predict", KEYS, content=png(), headers=headers)
    assert response.status_code == status
    if status == 401:
        assert response.json()["code"] == "key_refused"
        assert response.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics", "/docs", "/openapi.json", "/v2/health/live"])
def test_probes_scrapes_and_documentation_need_none(models_dir: Path, path: str) -> None:
    assert ask(models_dir, "GET", path, KEYS).status_code == 200


@pytest.mark.parametrize("path", ["/models", "/models/colours", "/v2", "/v2/models/colours", "/nothing"])
def test_everything_else_does(models_dir: Path, path: str) -> None:
    assert ask(models_dir, "GET", path, KEYS).status_code == 401


@pytest.mark.parametrize(
    ("settings", "key", "status"),
    [
        (KEYS, ADMIN, 200),
        (KEYS, USER, 403),
        (KEYS, "", 401),
        ({"api_keys": SecretStr(USER)}, USER, 403),
        ({"admin_keys": SecretStr(ADMIN)}, ADMIN, 200),
        ({"admin_keys": SecretStr(ADMIN)}, "", 401),
        ({}, "", 403),
    ],
)
def test_only_an_admin_changes_what_is_served(
    models_dir: Path, settings: dict[str, Any], key: str, status: int
) -> None:
    response = ask(models_dir, "POST", LOAD, settings, headers={"x-api-key": key})
    assert response.status_code == status
    assert set(response.json()) == ({"error"} if status != 200 else set())


def test_keys_come_from_files_too(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_text(f"# of the team\n{USER}  # until May\n\nsecond\n")
    keys = Keys(Settings(api_keys_file=path))
    keys.check({"x-api-key": USER})
    keys.check({"x-api-key": "second"})
    path.write_text("# none\n")
    for unusable in (path, tmp_path / "nowhere"):
        with pytest.raises(UnreadableKeys, match="LINNET_ADMIN_KEYS_FILE"):
            Keys(Settings(admin_keys_file=unusable))


def test_settings_do_not_show_keys() -> None:
    assert USER not in repr(Settings(**KEYS))


def test_browsers_are_let_in_only_where_told(models_dir: Path) -> None:
    origin = {"origin": "https://page.example"}
    preflight = origin | {"access-control-request-method": "POST"}
    assert "access-control-allow-origin" not in ask(models_dir, "GET", "/models", {}, headers=origin).headers
    settings = KEYS | {"cors_origins": "https://a.example, https://page.example"}
    allowed = ask(models_dir, "OPTIONS", "/predict", settings, headers=preflight)
    assert (allowed.status_code, allowed.headers["access-control-allow-origin"]) == (200, origin["origin"])
    refused = ask(models_dir, "POST", "/predict", settings, headers=origin)
    assert (refused.status_code, refused.headers["access-control-allow-origin"]) == (401, origin["origin"])
    other = ask(models_dir, "GET", "/models", settings, headers={"origin": "https://b.example"})
    assert "access-control-allow-origin" not in other.headers


@pytest.mark.parametrize(("keys", "reason"), [(",", "holds no key"), (" ", "holds no key"), ("cl\u00e9", "ASCII")])
def test_keys_that_let_nobody_or_everybody_in_stop_the_start(keys: str, reason: str) -> None:
    with pytest.raises(InvalidSetting, match=rf"The setting LINNET_API_KEYS cannot be used \(.*{reason}"):
        Keys(Settings(api_keys=SecretStr(keys)))
