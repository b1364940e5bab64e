"""Runs the service beside the page, for `make demo` and for a container that holds both."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from linnet_client import Client, NotReadyInTime

START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 35.0
POLL_S = 1.0


class ServiceNotStarted(Exception):
    """The command that is to start the service cannot be run."""

    def __init__(self, command: Sequence[str], reason: str) -> None:
        super().__init__(f"{' '.join(command)} cannot be started ({reason}): check the path.")


class ServiceStopped(Exception):
    """The service ended before it was ready; its own log says why."""

    def __init__(self, command: Sequence[str], code: int) -> None:
        super().__init__(f"{' '.join(command)} ended with {code} before it was ready: see its message above.")


@contextmanager
def running_service(command: Sequence[str]) -> Iterator[str]:
    """Run `command serve` on a free port and yield its address when it is ready; it is stopped at the end.

    Raises `ServiceNotStarted`, `ServiceStopped`, or `NotReadyInTime`.
    """
    port = _free_port()
    # The client's own variable would be an unknown setting to the service.
    environment = {name: value for name, value in os.environ.items() if name != "LINNET_API_KEY"}
    try:
        process = subprocess.Popen([*command, "serve", "--port", str(port)], env=environment)
    except OSError as error:
        raise ServiceNotStarted(command, error.strerror or type(error).__name__) from error
    try:
        url = f"http://127.0.0.1:{port}"
        _wait(process, command, url)
        yield url
    finally:
        process.terminate()
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()


def _wait(process: subprocess.Popen[bytes], command: Sequence[str], url: str) -> None:
    with Client(url) as client:
        for attempt in range(int(START_TIMEOUT_S / POLL_S), 0, -1):
            if (code := process.poll()) is not None:
                raise ServiceStopped(command, code)
            try:
                client.wait_until_ready(POLL_S)
            except NotReadyInTime:
                if attempt == 1:
                    raise
            else:
                return


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
