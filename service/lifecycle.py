"""What the service consists of while it runs: loading, serving, draining.

Must not import ONNX Runtime at import time.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from service.admission import Admission
from service.catalogue import Catalogue
from service.decoder import Decoder
from service.errors import NotReady
from service.keys import Keys
from service.logs import AccessLog
from service.metrics import Metrics
from service.repository import Repository
from service.settings import Settings
from service.uploads import Limits


class Service:
    """The parts of one application; lives on one event loop from `start` to `stop`."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.keys = Keys.of(settings)
        self.limits = Limits.of(settings)
        self.metrics = Metrics()
        self.access_log = AccessLog(settings.log_format) if settings.access_log else None
        self.admission = Admission(settings.max_pending_images, settings.max_pending_bytes, self.metrics.set_pending)
        self.pool = ThreadPoolExecutor(settings.decode_threads, thread_name_prefix="decode")
        self.decoder = Decoder(self.pool, settings.max_pixels)
        self.catalogue = Catalogue(settings, self.metrics)
        self.is_draining = False

    def start(self) -> None:
        """Begin to load the models; liveness does not wait for them."""
        self.catalogue.start()

    async def stop(self) -> None:
        """Finish what was accepted and let the threads go."""
        self.is_draining = True
        await self.catalogue.stop()
        self.pool.shutdown(wait=True, cancel_futures=True)
        if self.access_log is not None:
            self.access_log.flush()

    @property
    def repository(self) -> Repository:
        """Return the model repository; raises `NotReady` before it is loaded."""
        return self.catalogue.repository

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
