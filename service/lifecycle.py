"""What the service consists of while it runs: loading, serving, draining.

Must not import ONNX Runtime at import time.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from linnet.errors import LinnetError, MissingExtra
from service.admission import Admission
from service.catalogue import Catalogue
from service.decoder import Decoder
from service.errors import NotReady
from service.key_rotation import KeyRotation
from service.keys import Keys
from service.logs import AccessLog
from service.metrics import SHARED_DIR_VARIABLE, Metrics
from service.peers import Change, Peers
from service.repository import Repository
from service.settings import Settings
from service.uploads import Limits
from service.urls import fetcher_of

if TYPE_CHECKING:
    from service.tracing import Tracer


class Service:
    """The parts of one application; lives on one event loop from `start` to `stop`."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.keys = Keys(settings)
        self._key_rotation = KeyRotation(self.keys)
        self.limits = Limits.of(settings)
        self.metrics = Metrics()
        self.access_log = AccessLog(settings.log_format) if settings.access_log else None
        self.tracer = _tracer(settings)
        self.admission = Admission(settings.max_pending_images, settings.max_pending_bytes, self.metrics.set_pending)
        self.pool = ThreadPoolExecutor(settings.decode_threads, thread_name_prefix="decode")
        self.decoder = Decoder(self.pool, settings.max_pixels)
        self.fetcher = fetcher_of(settings)
        self.catalogue = Catalogue(settings, self.metrics, self.note_ready)
        self._peers = _peers(settings, self.catalogue)
        self.is_draining = False
        self.on_ready: Callable[[], object] | None = None  # called whenever it is found to be ready

    def begin(self) -> None:
        """Begin to read the models, before there is an event loop."""
        (self._peers or self.catalogue).begin()

    def start(self) -> None:
        """Load the models; liveness does not wait for them."""
        (self._peers or self.catalogue).start()
        self._key_rotation.start()

    async def stop(self) -> None:
        """Finish what was accepted and let the threads go."""
        self.is_draining = True
        self._key_rotation.stop()
        if self._peers is not None:
            await self._peers.stop()
        await self.catalogue.stop()
        self.pool.shutdown(wait=True, cancel_futures=True)
        if self.access_log is not None:
            self.access_log.flush()
        if self.tracer is not None:
            await asyncio.to_thread(self.tracer.close)

    async def change(self, change: Change) -> None:
        """Load or unload the models of one name, in every worker; raises what `Catalogue` and `Peers` raise."""
        if self._peers is not None:
            await self._peers.change(change)
        elif change.verb == "load":
            await self.catalogue.load(change.name)
        else:
            await self.catalogue.unload(change.name)

    @property
    def repository(self) -> Repository:
        """Return the model repository; raises `NotReady` before it is loaded."""
        return self.catalogue.repository

    def note_ready(self) -> None:
        """Put into the metrics whether this process is ready."""
        try:
            self.check_ready()
        except LinnetError:
            self.metrics.ready.set(0)
        else:
            self.metrics.ready.set(1)
            if self.on_ready is not None:
                self.on_ready()

    def check_ready(self) -> None:
        """Raise `NotReady` unless every expected model is loaded, warm and has answered, and nothing is shutting down.

        A model in the repository has passed its self-test and its warm-up, which are inferences.
        """
        if self.is_draining:
            raise NotReady("it is shutting down")
        repository = self.repository
        if repository.default_name is None:
            raise NotReady("the models folder holds no bundle")
        for name in self.settings.expected_models or [repository.default_name]:
            if not repository.serves(name):
                raise NotReady(f"the model {name!r} is not loaded")


def _tracer(settings: Settings) -> Tracer | None:
    """Return what sends traces, or None where it is off; raises `MissingExtra`."""
    if settings.otlp_endpoint is None:
        return None
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

        from service.tracing import Tracer
    except ModuleNotFoundError as error:
        raise MissingExtra("serve", error.name or "opentelemetry", "otel") from error
    return Tracer(OTLPSpanExporter(endpoint=settings.otlp_endpoint))


def _peers(settings: Settings, catalogue: Catalogue) -> Peers | None:
    """Return what connects this worker with the others, or None where it is alone."""
    folder = os.environ.get(SHARED_DIR_VARIABLE)
    return Peers(Path(folder), catalogue, settings) if folder else None
