"""What the service consists of while it runs: loading, serving, draining.

Must not import ONNX Runtime at import time.
"""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor

from linnet.errors import LinnetError
from service.admission import Admission
from service.decoder import Decoder
from service.errors import NotReady
from service.loading import load_repository
from service.repository import Repository
from service.settings import Settings
from service.uploads import Limits

logger = logging.getLogger(__name__)


class Service:
    """The parts of one application; lives on one event loop from `start` to `stop`."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.limits = Limits.of(settings)
        self.admission = Admission(settings.max_pending_images, settings.max_pending_bytes)
        self.pool = ThreadPoolExecutor(settings.decode_threads, thread_name_prefix="decode")
        self.decoder = Decoder(self.pool, settings.max_pixels)
        self.is_draining = False
        self.loading: asyncio.Task[Repository] | None = None

    def start(self) -> None:
        """Begin to load the models; liveness does not wait for them."""
        self.loading = asyncio.create_task(asyncio.to_thread(load_repository, self.settings))
        self.loading.add_done_callback(_log_failure)

    async def stop(self) -> None:
        """Finish what was accepted and let the threads go."""
        self.is_draining = True
        if self.loading is not None:
            await asyncio.wait([self.loading])
            if self.loading.exception() is None:
                await self.loading.result().close()
        self.pool.shutdown(wait=True, cancel_futures=True)

    @property
    def repository(self) -> Repository:
        """Return the model repository; raises `NotReady` before it is loaded."""
        if self.loading is None or not self.loading.done():
            raise NotReady("models are being loaded")
        if self.loading.exception() is not None:
            raise NotReady("the models could not be loaded")
        return self.loading.result()

    def check_ready(self) -> None:
        """Raise `NotReady` unless the default model is loaded, warm and has answered, and the service is not draining.

        A model in the repository has passed its self-test and its warm-up, which are inferences.
        """
        if self.is_draining:
            raise NotReady("it is shutting down")
        repository = self.repository
        if repository.default_name is None:
            raise NotReady("the models folder holds no bundle")
        if repository.default is None:
            raise NotReady(f"the model {repository.default_name!r} is not loaded")


def _log_failure(loading: asyncio.Task[Repository]) -> None:
    if not loading.cancelled() and (error := loading.exception()) is not None:
        logger.critical("%s", error, exc_info=None if isinstance(error, LinnetError) else error)
