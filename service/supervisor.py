"""Keeps several workers serving one port: starts them, starts another where one ends, and drains them all.

It accepts the connections and deals them to the workers in turn; those that are ready while another is missing get its
share. Must not import a web framework or ONNX Runtime.
"""

from __future__ import annotations

import asyncio
import logging
import logging.config
import os
import shutil
import signal
import socket
import sys
import tempfile
import time
from asyncio.subprocess import DEVNULL, PIPE, Process
from pathlib import Path

from prometheus_client.multiprocess import mark_process_dead

from service.handover import Dealer
from service.listening import allow_many_connections, listen, url_of
from service.logs import log_config
from service.metrics import SHARED_DIR_VARIABLE
from service.peers import presence
from service.settings import Settings, environment_of
from service.start_errors import WorkerFailed

# Before another worker is started in the place of one that lived only a moment; doubles up to the second.
BACKOFF_S = (0.5, 30.0)
LONG_LIFE_S = 30.0
GRACE_S = 5.0  # beyond the longest request

logger = logging.getLogger(__name__)


def supervise(settings: Settings) -> None:
    """Serve with `settings.workers` processes until SIGTERM or SIGINT, then drain them and return.

    Raises `CannotListen` where the address is taken, and `WorkerFailed` where a worker cannot start at all.
    """
    logging.config.dictConfig(log_config(settings.log_format, settings.log_level))
    allow_many_connections()  # those on their way to a worker count as well
    shared_dir = tempfile.mkdtemp(prefix="linnet-")
    os.environ[SHARED_DIR_VARIABLE] = shared_dir
    try:
        with listen(settings.host, settings.port) as listener:
            asyncio.run(_run(settings, listener))
    finally:
        del os.environ[SHARED_DIR_VARIABLE]
        shutil.rmtree(shared_dir, ignore_errors=True)


async def _run(settings: Settings, listener: socket.socket) -> None:
    await _Workers(settings, Dealer(listener), url_of(listener)).run()


class _Workers:
    """The workers of one port."""

    def __init__(self, settings: Settings, dealer: Dealer, url: str) -> None:
        self._settings = settings
        self._environment = {**os.environ, **environment_of(settings)}
        self._dealer = dealer
        self._url = url
        self._stopping = asyncio.Event()
        self._failure: WorkerFailed | None = None
        self._serving: set[int] = set()

    async def run(self) -> None:
        """Keep all of them running until a signal; raises `WorkerFailed` where one never served."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._stop)
        await asyncio.gather(*(self._keep(index) for index in range(self._settings.workers)))
        if self._failure is not None:
            raise self._failure

    def _stop(self) -> None:
        self._dealer.close()
        self._stopping.set()

    async def _keep(self, index: int) -> None:
        """Keep the worker of one place running."""
        wait_s = BACKOFF_S[0]
        while not self._stopping.is_set():
            begin_s = time.monotonic()
            with self._dealer.seat() as channel:
                status = await self._run_one(index, channel)
            if self._stopping.is_set():
                return
            if index not in self._serving:
                self._failure = WorkerFailed(status)
                self._stop()
                return
            wait_s = BACKOFF_S[0] if time.monotonic() - begin_s > LONG_LIFE_S else min(2 * wait_s, BACKOFF_S[1])
            logger.error("Worker %d %s: another is started in %.1f s", index, _ended(status), wait_s)
            await self._pause(wait_s)

    async def _run_one(self, index: int, channel: socket.socket) -> int:
        """Run one process to its end, or drain it when it is time to stop, and return its exit status."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "service.worker", str(os.getpid()), str(channel.fileno()), env=self._environment,
            stdin=DEVNULL, stdout=PIPE, pass_fds=(channel.fileno(),),
            start_new_session=True,  # a Ctrl-C reaches the supervisor, which asks every worker once
        )  # fmt: skip
        channel.close()
        announcing = asyncio.create_task(self._announce(index, process))
        ending = asyncio.create_task(process.wait())
        stopping = asyncio.create_task(self._stopping.wait())
        await asyncio.wait({ending, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if not ending.done():
            process.terminate()
            grace_s = self._settings.timeout_ms / 1000 + GRACE_S
            if not (await asyncio.wait({ending}, timeout=grace_s))[0]:
                process.kill()
        status = await ending
        stopping.cancel()
        await announcing
        mark_process_dead(process.pid)  # type: ignore[no-untyped-call]
        presence(Path(os.environ[SHARED_DIR_VARIABLE]), process.pid).unlink(missing_ok=True)
        return status

    async def _announce(self, index: int, process: Process) -> None:
        """Say what is served once every worker serves it; a worker writes that in one line."""
        assert process.stdout is not None
        line = (await process.stdout.readline()).decode().strip()
        if not line:
            return
        was_complete = len(self._serving) == self._settings.workers
        self._serving.add(index)
        if was_complete:
            logger.info("Worker %d serves again", index)
        elif len(self._serving) == self._settings.workers:
            logger.info("Serving %s: %s; %d workers", self._url, line, self._settings.workers)

    async def _pause(self, seconds: float) -> None:
        stopping = asyncio.create_task(self._stopping.wait())
        await asyncio.wait({stopping}, timeout=seconds)
        stopping.cancel()


def _ended(status: int) -> str:
    return f"was killed by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"
