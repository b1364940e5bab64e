"""Images by URL: nobody reaches our own network through the service."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from linnet.errors import ImageError
from service.admission import Admission
from service.app import create_app
from service.errors import UrlFailed, UrlRefused
from service.fetching import MAX_AT_ONCE, Fetcher, is_public
from service.settings import Settings
from tests.service.bundles import png
from tests.service.running import client_of, service_at


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "10.0.0.1", "172.16.5.4", "192.168.1.1", "169.254.169.254", "0.0.0.0", "100.64.0.1", "224.0.0.1",
        "255.255.255.255", "198.18.0.1", "::1", "::", "fe80::1", "fd00::1", "ff02::1", "::ffff:127.0.0.1",
        "::ffff:10.0.0.1", "2002:7f00:1::", "2002:a00:1::", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "2001:db8::1",
        "fec0::2", "192.0.0.192", "::ffff:192.0.0.192",
    ],
)  # fmt: skip
def test_what_is_not_public_is_known(address: str) -> None:
    assert not is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize(
    "address", ["8.8.8.8", "1.1.1.1", "2606:4700:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"]
)
def test_what_is_public_is_known(address: str) -> None:
    assert is_public(ipaddress.ip_address(address))


class Site(BaseHTTPRequestHandler):
    """A server of images and of trouble."""

    def do_GET(self) -> None:
        match self.path:
            case "/image":
                self._answer(200, png("green"))
            case "/moved":
                self._answer(302, location="/image")
            case "/loop":
                self._answer(302, location="/loop")
            case "/inside":
                self._answer(302, location="http://169.254.169.254/latest/meta-data")
            case "/file":
                self._answer(302, location="file:///etc/passwd")
            case "/astray":
                self._answer(302, location="http://[")
            case "/large":
                self._answer(200, bytes(200_000))
            case "/slow":
                threading.Event().wait(1)
                self._answer(200, png("green"))
            case "/text":
                self._answer(200, b"no image")
            case _:
                self._answer(404)

    def _answer(self, status: int, body: bytes = b"", location: str | None = None) -> None:
        self.send_response(status)
        if location is not None:
            self.send_header("Location", location)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Site) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def fetch(url: str, *, timeout_ms: int = 5_000, max_bytes: int = 100_000, let_in: bool = True) -> bytes | ImageError:
    """Fetch with our own machine let in, and nothing else that is not public."""

    def is_allowed(address: Any) -> bool:
        return is_public(address) or (let_in and address.is_loopback)

    async def scenario() -> bytes | ImageError:
        fetcher = Fetcher(timeout_ms, max_bytes, is_allowed)
        with Admission(10, 1_000_000).admit() as hold:
            try:
                return await fetcher(url, hold)
            except ImageError as error:
                return error

    return asyncio.run(scenario())


def test_an_image_is_fetched_over_a_redirect(site: str) -> None:
    assert fetch(f"{site}/image") == fetch(f"{site}/moved") == png("green")


@pytest.mark.parametrize(
    ("path", "error", "reason"),
    [
        ("/nothing", UrlFailed, "status 404"),
        ("/loop", UrlFailed, "more than 3 redirects"),
        ("/large", UrlFailed, "more than 100,000 bytes"),
        ("/slow", UrlFailed, "too long"),
        ("/inside", UrlRefused, "not at a public address"),
        ("/file", UrlRefused, "not an http or https address"),
        ("/astray", UrlRefused, "redirects to a malformed address"),
    ],
)
def test_what_cannot_be_had_is_said(site: str, path: str, error: type[ImageError], reason: str) -> None:
    found = fetch(site + path, timeout_ms=500 if path == "/slow" else 5_000)
    assert isinstance(found, error)
    assert reason in str(found)


@pytest.mark.parametrize(
    "url",
    ["http://localhost:1/", "http://127.1/", "http://2130706433/", "http://0x7f000001/", "http://[::1]/", "http://[::]/",
     "http://nowhere.invalid/", "http://[::ffff:127.0.0.1]/"],
)  # fmt: skip
def test_our_own_machine_is_refused_however_it_is_written(url: str) -> None:
    found = fetch(url, let_in=False)
    assert isinstance(found, UrlRefused)
    assert "not at a public address" in str(found)


@pytest.mark.parametrize(
    "url",
    ["ftp://a/", "http://", "http://user:secret@a/", "http://a:99999/", "http://a:0/", "https://ü/", "http://[::1"],
)
def test_odd_urls_are_refused(url: str) -> None:
    assert isinstance(fetch(url), UrlRefused)


def test_a_closed_port_is_a_failure() -> None:
    assert isinstance(fetch("http://127.0.0.1:9/"), UrlFailed)


def test_urls_are_off_unless_told(models_dir: Path, site: str) -> None:
    async def scenario() -> httpx.Response:
        async with service_at(models_dir) as client:
            return await client.post("/predict", json={"images": [f"{site}/image"]})

    response = asyncio.run(scenario())
    assert (response.status_code, response.json()["code"]) == (403, "urls_off")


def test_a_request_mixes_urls_and_images(models_dir: Path, site: str) -> None:
    async def scenario() -> tuple[dict[str, Any], httpx.Response]:
        app = create_app(Settings(models_dir=models_dir, fetch_urls=True))
        async with client_of(app) as client:
            refused = await client.post("/predict", json={"images": [f"{site}/image"]})
            app.state.service.fetcher = Fetcher(5_000, 100_000, lambda _: True)
            paths = ("/image", "/nothing", "/text")
            body = {"images": [f"{site}{path}" for path in paths]}
            return (await client.post("/predict", json=body)).json(), refused

    body, refused = asyncio.run(scenario())
    assert (refused.status_code, refused.json()["code"]) == (422, "url_refused")
    first, second, third = body["predictions"]
    assert (first["filename"], first["label"]) == (f"{site}/image", "green")
    assert second["error"]["code"] == "url_failed"
    assert third["error"]["code"] == "unsupported_image"


def test_the_time_to_fetch_begins_when_it_is_its_turn(site: str) -> None:
    """A host that stays silent takes every turn; whoever waits behind it has not failed."""

    async def scenario() -> list[object]:
        fetcher = Fetcher(700, 100_000, lambda _: True)
        with Admission(100, 1_000_000).admit() as hold:
            urls = [f"{site}/slow"] * MAX_AT_ONCE + [f"{site}/image"]
            return await asyncio.gather(*(fetcher(url, hold) for url in urls), return_exceptions=True)

    *slow, last = asyncio.run(scenario())
    assert all(isinstance(found, UrlFailed) for found in slow)
    assert last == png("green")


def test_images_that_do_not_fit_together_are_refused_and_nothing_of_them_is_held(models_dir: Path, site: str) -> None:
    async def scenario() -> tuple[httpx.Response, int, int]:
        app = create_app(Settings(models_dir=models_dir, fetch_urls=True, max_pending_bytes=1_000_000))
        async with client_of(app) as client:
            service = app.state.service
            service.fetcher = Fetcher(5_000, 900_000, lambda _: True)
            refused = await client.post("/predict", json={"images": [f"{site}/large"] * 12})
            await asyncio.sleep(0.3)  # for fetches that go on, if there are any
            return refused, service.admission.bytes, service.admission.images

    refused, held_bytes, held_images = asyncio.run(scenario())
    assert (refused.status_code, refused.json()["code"]) == (503, "overloaded")
    assert (held_bytes, held_images) == (0, 0)


def resolve_to(monkeypatch: pytest.MonkeyPatch, *answers: list[str]) -> list[str]:
    """Let names resolve to these addresses, one list after the other, and return the names that were asked for."""
    asked: list[str] = []
    resolve, waiting = socket.getaddrinfo, iter(answers)

    def getaddrinfo(host: str, port: int, *args: Any, **options: Any) -> Any:
        if host != "photos.example":
            return resolve(host, port, *args, **options)
        asked.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in next(waiting)]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return asked


def test_the_connection_goes_to_the_address_that_was_checked(site: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that changes its mind between check and use gains nothing."""
    asked = resolve_to(monkeypatch, ["127.0.0.1"], ["192.0.2.1"])
    assert fetch(f"http://photos.example:{httpx.URL(site).port}/image") == png("green")
    assert asked == ["photos.example"]


def test_one_address_of_ours_among_others_is_enough_to_refuse(site: str, monkeypatch: pytest.MonkeyPatch) -> None:
    resolve_to(monkeypatch, ["8.8.8.8", "127.0.0.1"])
    found = fetch(f"http://photos.example:{httpx.URL(site).port}/image", let_in=False)
    assert isinstance(found, UrlRefused)
