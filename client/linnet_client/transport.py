"""The only module that knows httpx: sends calls, and gives every failure of the network a name of ours."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias, TypeVar

import httpx

from linnet_client.calls import Call, Reply, read_reply
from linnet_client.errors import (
    InvalidAddress,
    InvalidKey,
    ServiceError,
    TimedOut,
    UnexpectedAnswer,
    Unreachable,
    UnusableProxy,
)

SyncTransport: TypeAlias = httpx.BaseTransport
AsyncTransport: TypeAlias = httpx.AsyncBaseTransport
HttpClient: TypeAlias = httpx.Client
AsyncHttpClient: TypeAlias = httpx.AsyncClient

API_KEY_VARIABLE = "LINNET_API_KEY"

# As many connections are kept as may be open: `predict_many` would otherwise open new ones all the time.
LIMITS = httpx.Limits(max_connections=256, max_keepalive_connections=256)

LONGEST_TIMEOUT_MS = 999_999_999

# httpx reads them while a client is made, in capitals or not.
PROXY_VARIABLES = frozenset({"http_proxy", "https_proxy", "all_proxy"})

C = TypeVar("C")
T = TypeVar("T")


class Address:
    """Where the service is, and what every request to it carries."""

    def __init__(self, url: str, api_key: str | None, timeout_s: float) -> None:
        try:
            parsed = httpx.URL(url)
        except (httpx.InvalidURL, TypeError) as error:
            raise InvalidAddress(str(url), str(error)) from error
        if parsed.scheme not in ("http", "https") or not parsed.host:
            raise InvalidAddress(url, "it does not begin with http:// or https:// and a host")
        self.url = url.rstrip("/")
        self.timeout_s = timeout_s
        key = (os.environ.get(API_KEY_VARIABLE, "") if api_key is None else api_key).strip()
        if not (key.isascii() and key.isprintable()):
            raise InvalidKey
        # The service drops work whose answer nobody waits for any longer.
        self._headers = {"X-Timeout-Ms": str(min(max(1, round(timeout_s * 1000)), LONGEST_TIMEOUT_MS))}
        if key:
            self._headers["Authorization"] = f"Bearer {key}"

    def request(self, client: httpx.Client | httpx.AsyncClient, call: Call[Any], timeout_s: float) -> httpx.Request:
        """Return the request that carries out `call`."""
        return client.build_request(
            call.method,
            self.url + call.path,
            params=call.params,
            headers={**self._headers, **call.headers},
            content=call.body,
            timeout=timeout_s,
        )

    def failure(self, error: httpx.RequestError, timeout_s: float) -> ServiceError:
        """Return our name for a failure of the network."""
        reason = str(error) or type(error).__name__
        if isinstance(error, httpx.ConnectTimeout):
            return Unreachable(self.url, f"no connection within {timeout_s:g} s")
        if isinstance(error, httpx.TimeoutException):
            return TimedOut(self.url, timeout_s)
        if isinstance(error, httpx.UnsupportedProtocol):
            return InvalidAddress(self.url, reason)
        if isinstance(error, (httpx.DecodingError, httpx.TooManyRedirects)):
            return UnexpectedAnswer(self.url, 0, reason)
        return Unreachable(self.url, reason)

    def reply(self, response: httpx.Response) -> Reply:
        """Return the answer in our own words."""
        headers: Mapping[str, str] = response.headers
        return Reply(self.url, response.status_code, headers, response.content)


def _make_client(make: Callable[[], C]) -> C:
    """Return a client of httpx; raises `UnusableProxy` for one of SOCKS without its package, or of no known kind."""
    try:
        return make()
    except (ImportError, ValueError, httpx.InvalidURL) as error:
        variables = sorted(name for name, value in os.environ.items() if value and name.lower() in PROXY_VARIABLES)
        if not variables:
            raise
        # What is wrong with an address may quote its password, here and in a traceback.
        reason = str(error) if isinstance(error, ImportError) else "its address is none, or of no kind that works here"
        raise UnusableProxy(variables, reason) from (error if isinstance(error, ImportError) else None)


class Connection:
    """Sends calls one after the other or from several threads at once."""

    def __init__(self, address: Address, transport: SyncTransport | None, client: HttpClient | None) -> None:
        self.address = address
        self._owns_client = client is None
        self._client = client or _make_client(lambda: httpx.Client(transport=transport, limits=LIMITS))

    def send(self, call: Call[T], timeout_s: float | None = None) -> T:
        """Return the answer to one try, within the address's time unless told; raises `ServiceError`."""
        timeout_s = timeout_s or self.address.timeout_s
        try:
            response = self._client.send(self.address.request(self._client, call, timeout_s))
        except httpx.RequestError as error:
            raise self.address.failure(error, timeout_s) from error
        return read_reply(call, self.address.reply(response))

    def close(self) -> None:
        """Close the connections, unless the caller brought the client."""
        if self._owns_client:
            self._client.close()


class AsyncConnection:
    """Sends calls from one event loop."""

    def __init__(self, address: Address, transport: AsyncTransport | None, client: AsyncHttpClient | None) -> None:
        self.address = address
        self._owns_client = client is None
        self._client = client or _make_client(lambda: httpx.AsyncClient(transport=transport, limits=LIMITS))

    async def send(self, call: Call[T], timeout_s: float | None = None) -> T:
        """Return the answer to one try, within the address's time unless told; raises `ServiceError`."""
        timeout_s = timeout_s or self.address.timeout_s
        try:
            response = await self._client.send(self.address.request(self._client, call, timeout_s))
        except httpx.RequestError as error:
            raise self.address.failure(error, timeout_s) from error
        return read_reply(call, self.address.reply(response))

    async def close(self) -> None:
        """Close the connections, unless the caller brought the client."""
        if self._owns_client:
            await self._client.aclose()
