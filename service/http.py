"""uvicorn around the application: where connections come from, readiness that falls with the signal, a clean exit.

Must not import torch, trainer or export.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import socket
from collections.abc import Callable, Generator
from contextlib import contextmanager
from types import FrameType

import uvicorn

from linnet.errors import LinnetError
from service.app import assemble
from service.connections import bounded_protocol
from service.handover import Seat
from service.lifecycle import Service
from service.logs import log_config
from service.repository import Model

# Longer than the idle time of common load balancers (60 s), which otherwise send into a connection that just closed.
KEEP_ALIVE_S = 75

logger = logging.getLogger(__name__)


def run(source: socket.socket | Seat, service: Service, announce: Callable[[str], None]) -> None:
    """Answer the connections of a listener or of a seat until a signal; raises what loading the models raises."""
    settings = service.settings
    config = uvicorn.Config(
        assemble(service),
        loop="uvloop",
        http=bounded_protocol(
            settings.header_timeout_ms / 1000, settings.body_timeout_ms / 1000, service.metrics.count_unparsed
        ),
        ws="none",
        lifespan="on",
        log_config=log_config(settings.log_format, settings.log_level),
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=settings.timeout_ms // 1000 + 1,
    )
    if isinstance(source, Seat):
        server = Server(config, service, announce, source)
        server.run(sockets=[])
    else:
        server = Server(config, service, announce)
        server.run(sockets=[source])
    if server.failure is not None:
        raise server.failure


class Server(uvicorn.Server):
    """uvicorn's server, but readiness falls with the signal, the exit is clean, and it says what it serves."""

    def __init__(
        self, config: uvicorn.Config, service: Service, announce: Callable[[str], None], seat: Seat | None = None
    ) -> None:
        super().__init__(config)
        self._seat = seat
        self._service = service
        self._tell = announce
        self._announcing: asyncio.Task[None] | None = None
        self.failure: BaseException | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to take connections, and announce the models when they are loaded."""
        await super().startup(sockets)
        if self._seat is not None:
            self._seat.take(self._serve_connection)
        self._announcing = asyncio.create_task(self._announce())

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Take no more connections and finish what was accepted."""
        if self._seat is not None:
            await self._seat.leave()
        await super().shutdown(sockets)

    async def _serve_connection(self, connection: socket.socket) -> None:
        def make_protocol() -> asyncio.Protocol:  # as uvicorn does for the listeners of its own
            return self.config.http_protocol_class(  # type: ignore[call-arg]
                config=self.config, server_state=self.server_state, app_state=self.lifespan.state
            )

        await asyncio.get_running_loop().connect_accepted_socket(make_protocol, connection)

    async def _announce(self) -> None:
        loading = self._service.catalogue.loading
        if loading is None:
            return
        await asyncio.wait([loading])
        self.failure = loading.exception()
        if self.failure is not None:
            self.should_exit = True
            return
        try:
            self._service.check_ready()
        except LinnetError as error:
            logger.error("%s", error)
        _settle()
        if self._seat is not None:
            self._service.on_ready = self._seat.say_loaded
            self._service.note_ready()
        models = ", ".join(_described(model) for model in self._service.repository.models)
        self._tell(models or "no model")

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stop being ready and begin to shut down."""
        self._service.is_draining = True
        super().handle_exit(sig, frame)

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Handle the signals while serving, without raising them again at the end: a drained server exits with 0."""
        previous = {number: signal.signal(number, self.handle_exit) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)


def _settle() -> None:
    """Let the garbage collector work from now on, and pass over what was made at the start and stays to the end."""
    gc.freeze()
    gc.enable()


def _described(model: Model) -> str:
    metrics = model.variant.metrics
    return (
        f"{model.name} {model.version} ({model.variant.precision}, {model.provider}, "
        f"accuracy {metrics.accuracy:.2%} on {metrics.n:,} {metrics.split} images)"
    )
