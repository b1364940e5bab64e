"""The client for programs that wait for their answers."""

from __future__ import annotations

import threading
import time
from collections.abc import Generator, Iterable
from concurrent.futures import CancelledError
from types import TracebackType
from typing import TypeVar

from linnet_client import calls
from linnet_client.calls import Call, Question
from linnet_client.errors import InvalidAddress, NotReadyInTime, Problem, ServiceError
from linnet_client.images import ImageSource, Taken, read_image, take
from linnet_client.ordered import answer_in_order
from linnet_client.results import Explanation, FailedPrediction, Health, Model, Prediction
from linnet_client.retries import Retries
from linnet_client.transport import Address, Connection, HttpClient, SyncTransport

T = TypeVar("T")

DEFAULT_URL = "http://127.0.0.1:8000"
DEFAULT_TIMEOUT_S = 30.0
DEFAULT_RETRIES = 2
DEFAULT_CONCURRENCY = 8
POLL_S = 0.1


class Client:
    """Asks one service; may be used from several threads, and as a context manager.

    `api_key` is that of the variable LINNET_API_KEY unless given. `timeout_s` bounds connecting, sending and each wait
    for the answer. Connections that fail, overload (429, 503) and gateways without an answer (502, 504) are tried again
    `retries` times, as `Retry-After` says or at growing intervals. For tests of your own, `transport` answers in the
    place of the network, or `http_client` is a whole `httpx.Client`, which stays yours to close.

    Every method raises a `ServiceError` (see `linnet_client.errors`).
    """

    def __init__(  # noqa: PLR0913
        self,
        url: str = DEFAULT_URL,
        *,
        api_key: str | None = None,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        retries: int = DEFAULT_RETRIES,
        transport: SyncTransport | None = None,
        http_client: HttpClient | None = None,
    ) -> None:
        self._connection = Connection(Address(url, api_key, timeout_s), transport, http_client)
        self._retries = Retries(retries)

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._connection.close()

    def predict(
        self,
        image: ImageSource,
        *,
        model: str | None = None,
        version: str | int | None = None,
        top_k: int | None = None,
    ) -> Prediction:
        """Return what one image shows: a path, bytes, a binary file, a PIL.Image or a NumPy array uint8 [H, W, C].

        Raises `OSError` where a file cannot be read.
        """
        return self._send(calls.predict(read_image(image), Question(model, version, top_k)))

    def predict_many(
        self,
        images: Iterable[ImageSource],
        *,
        model: str | None = None,
        version: str | int | None = None,
        top_k: int | None = None,
        concurrency: int = DEFAULT_CONCURRENCY,
    ) -> Generator[Prediction | FailedPrediction, None, None]:
        """Yield what each image shows, in order, with at most `concurrency` requests under way.

        Paths are read when their turn comes, so neither the images nor the iterable have to fit into memory. Whatever
        else is not bytes is copied, or read, when it is taken from the iterable, so a frame may be overwritten and a
        file closed as soon as the next is asked for; at most twice `concurrency` images are held. Small ones that come
        faster than they are answered share requests. One that cannot be read has a `FailedPrediction` in its place;
        what would meet every image alike is raised. Closing the generator waits for the requests under way and no more.
        """
        question = Question(model, version, top_k)
        closed = threading.Event()

        def answer(group: list[Taken]) -> list[Prediction | FailedPrediction]:
            if len(group) > 1:
                try:
                    return self._send(calls.predict_group([image.read() for image in group], question), closed)
                except OSError:
                    pass  # found again below, and said of that image alone
                except Problem as error:
                    if not calls.is_worth_one_by_one(error):
                        raise
            return [answer_one(image) for image in group]

        def answer_one(image: Taken) -> Prediction | FailedPrediction:
            try:
                return self._send(calls.predict(image.read(), question), closed)
            except (Problem, OSError) as error:
                return calls.failed_prediction(image.name, error)

        return answer_in_order(answer, map(take, images), lambda image: image.is_small, concurrency, closed)

    def explain(
        self,
        image: ImageSource,
        *,
        label: str | None = None,
        model: str | None = None,
        version: str | int | None = None,
    ) -> Explanation:
        """Return which parts of the image speak for `label`, or for the most probable class."""
        return self._send(calls.explain(read_image(image), Question(model, version, label=label)))

    def explain_png(
        self,
        image: ImageSource,
        *,
        label: str | None = None,
        model: str | None = None,
        version: str | int | None = None,
    ) -> bytes:
        """Return the image with the explanation of `label`, or of the most probable class, laid over it, as PNG."""
        return self._send(calls.explain_png(read_image(image), Question(model, version, label=label)))

    def models(self) -> tuple[Model, ...]:
        """Return every version of every model, ordered by name and version."""
        return self._send(calls.models())

    def model(self, name: str, version: str | int | None = None) -> Model:
        """Return one version of a model; the one that answers requests unless told. Raises `NotFound`."""
        return self._send(calls.model(name, version))

    def health(self) -> Health:
        """Say at once whether the service lives and whether it is ready; raises nothing for one that is not."""
        return self._ask_health(None)

    def wait_until_ready(self, timeout_s: float = 60.0) -> None:
        """Return when the service is ready; raises `NotReadyInTime`."""
        end_s = time.monotonic() + timeout_s
        while True:
            left_s = max(POLL_S, end_s - time.monotonic())
            health = self._ask_health(min(left_s, self._connection.address.timeout_s))
            if health.is_ready:
                return
            if time.monotonic() + POLL_S > end_s:
                raise NotReadyInTime(self._connection.address.url, timeout_s, health.reason)
            time.sleep(POLL_S)

    def _ask_health(self, timeout_s: float | None) -> Health:
        try:
            return self._connection.send(calls.ready(), timeout_s)
        except InvalidAddress:
            raise
        except ServiceError as error:
            return calls.health_after(error)

    def _send(self, call: Call[T], closed: threading.Event | None = None) -> T:
        """Return the answer, after retries; once `closed` is set nothing is sent, and no retry is waited for."""
        closed = closed or threading.Event()
        failures = 0
        while True:
            if closed.is_set():
                raise CancelledError
            try:
                return self._connection.send(call)
            except ServiceError as error:
                failures += 1
                wait_s = self._retries.wait_s(failures, error)
                if wait_s is None or closed.wait(wait_s):
                    raise
