"""Starts a server, waits until it is ready, measures what it costs, and always stops it."""

from __future__ import annotations

import http.client
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.serving import processes
from benchmarks.serving.payloads import TINY_FORM, Payload

ROOT = Path(__file__).parents[2]
HOST = "127.0.0.1"
START_S, STOP_S, ANSWER_S = 60.0, 10.0, 60.0
POLL_S = 0.005


@dataclass(frozen=True)
class Contestant:
    """A server that can be started; `{port}` in its command stands for the port."""

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    ready_path: str | None = None  # answers GET with 200 when it is ready; None: when it classifies
    announcement: str = ""  # in the log once every process serves
    path: str = "/predict"
    tiny: Payload = TINY_FORM  # one small image, as it takes it


class Server:
    """A server that is running."""

    def __init__(self, contestant: Contestant, process: subprocess.Popen[bytes], port: int, log: Path) -> None:
        self.contestant = contestant
        self.port = port
        self.url = f"http://{HOST}:{port}"
        self.ready_s = 0.0
        self._process, self._log = process, log

    def wait(self, begin_s: float) -> None:
        """Wait until it is ready, `ready_s` seconds after `begin_s`; exits with its log where that does not happen."""
        while not self._is_ready():
            self._check(begin_s)
            time.sleep(POLL_S)
        self.ready_s = time.perf_counter() - begin_s
        while self.contestant.announcement not in self.log():
            self._check(begin_s)
            time.sleep(POLL_S)

    def ask(self, payload: Payload) -> tuple[int, bytes]:
        """Return the status and the body of the answer to one request."""
        return self._exchange("POST", self.contestant.path, payload.body, {"Content-Type": payload.content_type})

    def cpu_s(self) -> float:
        """Return the processor time that all of its processes have taken, in seconds."""
        return processes.cpu_s(self._process.pid)

    def resident_mb(self) -> list[float]:
        """Return the resident memory of each of its processes, the first one first; shared pages count in each."""
        return [round(process.rss_mb, 1) for process in processes.tree(self._process.pid)]

    def open_files(self) -> int:
        """Return how many files its first process has open."""
        return processes.open_files(self._process.pid)

    def log(self) -> str:
        """Return what it has written so far."""
        return self._log.read_text(errors="replace")

    def stop(self) -> int:
        """End it and all that it started: as it asks to be, or else at once; return its exit status."""
        members = processes.tree(self._process.pid)
        self._process.terminate()
        try:
            self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        processes.kill_left(self._process.pid, members)
        return self._process.returncode

    def _is_ready(self) -> bool:
        path = self.contestant.ready_path
        try:
            status = self._exchange("GET", path)[0] if path else self.ask(self.contestant.tiny)[0]
        except (OSError, http.client.HTTPException):
            return False
        if 400 <= status < 500:
            sys.exit(f"{self.contestant.name} takes no such request: it answers {status}.")
        return status == 200

    def _check(self, begin_s: float) -> None:
        status = self._process.poll()
        if status is not None or time.perf_counter() - begin_s > START_S:
            what = f"did not start within {START_S:.0f} s" if status is None else f"ended with status {status}"
            sys.exit(f"{self.contestant.name} {what}:\n{self.log()[-3000:]}")

    def _exchange(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection(HOST, self.port, timeout=ANSWER_S)
        try:
            connection.request(method, path, body, dict(headers or {}))
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()


@contextmanager
def running(contestant: Contestant) -> Iterator[Server]:
    """Start a contestant on a free port, and stop it whatever happens meanwhile."""
    port = free_port()
    command = [word.replace("{port}", str(port)) for word in contestant.command]
    with tempfile.NamedTemporaryFile(suffix=".log") as log:
        begin_s = time.perf_counter()
        process = subprocess.Popen(
            command, cwd=ROOT, env={**os.environ, **contestant.environment}, stdin=subprocess.DEVNULL, stdout=log,
            stderr=subprocess.STDOUT, start_new_session=True,  # a Ctrl-C is ours to pass on
        )  # fmt: skip
        server = Server(contestant, process, port, Path(log.name))
        try:
            server.wait(begin_s)
            yield server
        finally:
            server.stop()


def free_port() -> int:
    """Return a TCP port that was free a moment ago."""
    with socket.create_server((HOST, 0)) as listener:
        return int(listener.getsockname()[1])
