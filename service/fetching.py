"""Fetches images by URL, from public addresses only, so that nobody reaches our own network through the service.

The address is checked when the connection is made, and the connection goes to the very address that was checked: a name
that changes its mind between check and use gains nothing, and every redirect passes the same door. Off unless
LINNET_FETCH_URLS says otherwise. Must not import ONNX Runtime.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import urljoin, urlsplit

import certifi
import httpcore

from service.admission import Hold
from service.errors import UrlFailed, UrlRefused

HEADERS = [("Accept", "image/*"), ("Accept-Encoding", "identity"), ("User-Agent", "linnet")]
MAX_REDIRECTS = 3
MAX_AT_ONCE = 16
REDIRECTS = frozenset({301, 302, 303, 307, 308})
_SPECIAL = ipaddress.ip_network("192.0.0.0/24")  # RFC 6890; some clouds have their metadata there
_EMBEDDING = ipaddress.ip_network("64:ff9b::/96")  # NAT64 (RFC 6052): the last 32 bits are an IPv4 address

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def is_public(address: Address) -> bool:
    """Tell whether an address is of the public internet, itself and whatever IPv4 address it stands for."""
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour or (address.teredo or (None, None))[1]
        if inner is None and address in _EMBEDDING:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(inner)
        if address.is_site_local:  # deprecated by RFC 3879, and still routed at home
            return False
    return address.is_global and not address.is_multicast and not address.is_reserved and address not in _SPECIAL


class Fetcher:
    """Fetches images under limits of size and time."""

    def __init__(self, timeout_ms: int, max_bytes: int, is_allowed: Callable[[Address], bool] = is_public) -> None:
        self._timeout_s = timeout_ms / 1000
        self._max_bytes = max_bytes
        self._turns = asyncio.Semaphore(MAX_AT_ONCE)
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=ssl.create_default_context(cafile=certifi.where()),
            max_connections=MAX_AT_ONCE,
            max_keepalive_connections=0,
            network_backend=_CheckedBackend(is_allowed),
        )

    async def __call__(self, url: str, hold: Hold) -> bytes:
        """Return the body at `url`, held against the capacity.

        Raises `UrlRefused` where it may not be asked for, `UrlFailed` where it cannot be had, `Overloaded`.
        """
        try:
            async with self._turns, asyncio.timeout(self._timeout_s):  # the wait has the request's own deadline
                for _ in range(MAX_REDIRECTS + 1):
                    found = await self._get(_checked(url), hold)
                    if isinstance(found, bytes):
                        return found
                    url = _joined(url, found)
        except TimeoutError as error:
            raise UrlFailed("it took too long") from error
        except (httpcore.NetworkError, httpcore.ProtocolError, httpcore.TimeoutException, ssl.SSLError) as error:
            raise UrlFailed("the connection failed") from error
        raise UrlFailed(f"more than {MAX_REDIRECTS} redirects")

    async def _get(self, url: str, hold: Hold) -> bytes | str:
        """Return the body, or where it is said to be instead."""
        async with self._pool.stream("GET", url, headers=HEADERS) as response:
            fields = {name.lower(): value for name, value in response.headers}
            if response.status in REDIRECTS and b"location" in fields:
                return fields[b"location"].decode("latin-1")
            if response.status != 200:
                raise UrlFailed(f"it answers with status {response.status}")
            body = bytearray()
            async for chunk in response.aiter_stream():
                body += chunk
                if len(body) > self._max_bytes:
                    raise UrlFailed(f"it has more than {self._max_bytes:,} bytes")
                hold.add_bytes(len(chunk))
            return bytes(body)


def _joined(url: str, location: str) -> str:
    try:
        return urljoin(url, location)
    except ValueError as error:
        raise UrlRefused("it redirects to a malformed address") from error


def _checked(url: str) -> str:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise UrlRefused("it is malformed") from error
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0 or not url.isascii():
        raise UrlRefused("it is not an http or https address")
    if parts.username is not None or parts.password is not None:
        raise UrlRefused("it carries a user name")
    return parts._replace(fragment="").geturl()


class _CheckedBackend(httpcore.AsyncNetworkBackend):
    """Connects to public addresses only."""

    def __init__(self, is_allowed: Callable[[Address], bool]) -> None:
        self._is_allowed = is_allowed
        self._backend = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Resolve once, check every address, and connect to the first."""
        try:
            found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError):
            found = []
        addresses = [ipaddress.ip_address(str(entry[4][0]).partition("%")[0]) for entry in found]
        if not addresses or not all(self._is_allowed(address) for address in addresses):
            raise UrlRefused("it is not at a public address")  # the same words where it is nowhere: nothing to learn
        return await self._backend.connect_tcp(str(addresses[0]), port, timeout, local_address, socket_options)

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await asyncio.sleep(seconds)
