"""The client for programs that run on an asyncio event loop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterable, Iterable
from types import TracebackType
from typing import TypeVar

from linnet_client import calls
from linnet_client.calls import Call, Question
from linnet_client.client import DEFAULT_CONCURRENCY, DEFAULT_RETRIES, DEFAULT_TIMEOUT_S, DEFAULT_URL, POLL_S
from linnet_client.errors import InvalidAddress, NotReadyInTime, Problem, ServiceError
from linnet_client.images import ImageSource, Picture, Taken, read_image, stays, take
from linnet_client.ordered import answer_in_order_async
from linnet_client.results import Explanation, FailedPrediction, Health, Model, Prediction
from linnet_client.retries import Retries
from linnet_client.transport import Address, AsyncConnection, AsyncHttpClient, AsyncTransport

T = TypeVar("T")


class AsyncClient:
    """`linnet_client.Client` with methods to be awaited; belongs to one event loop."""

    def __init__(  # noqa: PLR0913
        self,
        url: str = DEFAULT_URL,
        *,
        api_key: str | None = None,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        retries: int = DEFAULT_RETRIES,
        transport: AsyncTransport | None = None,
        http_client: AsyncHttpClient | None = None,
    ) -> None:
        self._connection = AsyncConnection(Address(url, api_key, timeout_s), transport, http_client)
        self._retries = Retries(retries)

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._connection.close()

    async def predict(
        self,
        image: ImageSource,
        *,
        model: str | None = None,
        version: str | int | None = None,
        top_k: int | None = None,
    ) -> Prediction:
        """Return what one image shows; see `Client.predict`."""
        return await self._send(calls.predict(await _read(image), Question(model, version, top_k)))

    def predict_many(
        self,
        images: Iterable[ImageSource] | AsyncIterable[ImageSource],
        *,
        model: str | None = None,
        version: str | int | None = None,
        top_k: int | None = None,
        concurrency: int = DEFAULT_CONCURRENCY,
    ) -> AsyncGenerator[Prediction | FailedPrediction, None]:
        """Yield what each image shows, in order; see `Client.predict_many`."""
        question = Question(model, version, top_k)

        async def answer(group: list[Taken]) -> list[Prediction | FailedPrediction]:
            if len(group) > 1:
                try:
                    return await self._send(calls.predict_group(await _read_all(group), question))
                except OSError:
                    pass  # found again below, and said of that image alone
                except Problem as error:
                    if not calls.is_worth_one_by_one(error):
                        raise
            return [await answer_one(image) for image in group]

        async def answer_one(image: Taken) -> Prediction | FailedPrediction:
            try:
                return await self._send(calls.predict(await asyncio.to_thread(image.read), question))
            except (Problem, OSError) as error:
                return calls.failed_prediction(image.name, error)

        return answer_in_order_async(answer, images, _take, lambda image: image.is_small, concurrency)

    async def explain(
        self,
        image: ImageSource,
        *,
        label: str | None = None,
        model: str | None = None,
        version: str | int | None = None,
    ) -> Explanation:
        """Return which parts of the image speak for a class; see `Client.explain`."""
        return await self._send(calls.explain(await _read(image), Question(model, version, label=label)))

    async def explain_png(
        self,
        image: ImageSource,
        *,
        label: str | None = None,
        model: str | None = None,
        version: str | int | None = None,
    ) -> bytes:
        """Return the image with the explanation laid over it, as PNG; see `Client.explain_png`."""
        return await self._send(calls.explain_png(await _read(image), Question(model, version, label=label)))

    async def models(self) -> tuple[Model, ...]:
        """Return every version of every model."""
        return await self._send(calls.models())

    async def model(self, name: str, version: str | int | None = None) -> Model:
        """Return one version of a model; see `Client.model`."""
        return await self._send(calls.model(name, version))

    async def health(self) -> Health:
        """Say at once whether the service lives and whether it is ready."""
        return await self._ask_health(None)

    async def wait_until_ready(self, timeout_s: float = 60.0) -> None:
        """Return when the service is ready; raises `NotReadyInTime`."""
        end_s = time.monotonic() + timeout_s
        while True:
            left_s = max(POLL_S, end_s - time.monotonic())
            health = await self._ask_health(min(left_s, self._connection.address.timeout_s))
            if health.is_ready:
                return
            if time.monotonic() + POLL_S > end_s:
                raise NotReadyInTime(self._connection.address.url, timeout_s, health.reason)
            await asyncio.sleep(POLL_S)

    async def _ask_health(self, timeout_s: float | None) -> Health:
        try:
            return await self._connection.send(calls.ready(), timeout_s)
        except InvalidAddress:
            raise
        except ServiceError as error:
            return calls.health_after(error)

    async def _send(self, call: Call[T]) -> T:
        failures = 0
        while True:
            try:
                return await self._connection.send(call)
            except ServiceError as error:
                failures += 1
                wait_s = self._retries.wait_s(failures, error)
                if wait_s is None:
                    raise
            await asyncio.sleep(wait_s)


async def _read(image: ImageSource) -> Picture:
    """Read on a thread: a disk may be slow, and encoding an array takes time."""
    return await asyncio.to_thread(read_image, image)


async def _read_all(images: list[Taken]) -> list[Picture]:
    return await asyncio.to_thread(lambda: [image.read() for image in images])


async def _take(image: ImageSource) -> Taken:
    """Copy or read on a thread, too: a copy of what Pillow has not decoded yet decodes it."""
    return take(image) if stays(image) else await asyncio.to_thread(take, image)
