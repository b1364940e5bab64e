"""Runs the service in this process, or in several that it keeps running.

Must not import torch, trainer or export.
"""

from __future__ import annotations

import gc
import logging
import logging.config
import socket
from collections.abc import Callable

from linnet.errors import PathNotFound
from service.handover import Seat
from service.lifecycle import Service
from service.listening import allow_many_connections, listen, url_of
from service.logs import log_config
from service.memory import return_large_blocks
from service.settings import Settings
from service.supervisor import supervise

logger = logging.getLogger(__name__)


def serve(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT, then finish what was accepted and return.

    Raises `PathNotFound` without the models folder, `CannotListen` where the address is taken, `ProviderUnavailable`
    where the provider that was asked for is not active, `WorkerFailed` where a worker cannot start.
    """
    if not settings.models_dir.is_dir():
        raise PathNotFound(settings.models_dir, "models folder")
    if settings.workers > 1:
        supervise(settings)
        return
    with listen(settings.host, settings.port) as listener:
        serve_on(listener, settings, lambda models: logger.info("Serving %s: %s", url_of(listener), models))


def serve_on(source: socket.socket | Seat, settings: Settings, announce: Callable[[str], None]) -> None:
    """Serve the connections of a listener or of a worker's seat; `announce` is told what is served once it is loaded.

    Raises what `serve` raises.
    """
    logging.config.dictConfig(log_config(settings.log_format, settings.log_level))  # uvicorn comes to it later
    return_large_blocks()
    allow_many_connections()
    gc.disable()  # nothing that is made at the start is garbage; `run` enables it when the models are loaded
    try:
        service = Service(settings)
        # The models are read on another core while the framework is imported.
        service.begin()
        from service.http import run

        run(source, service, announce)
    finally:
        gc.enable()
