"""Runs the service for tests: in this event loop, or as a real process on a port of its own."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import httpx
from fastapi import FastAPI

from service.app import create_app
from service.settings import Settings

ROOT = Path(__file__).parents[2]
COMMAND = "from service.server import serve; from service.settings import read_settings; serve(read_settings())"


@asynccontextmanager
async def client_of(app: FastAPI, *, loaded: bool = True) -> AsyncIterator[httpx.AsyncClient]:
    """Run `app` in this event loop, with its models loaded unless told otherwise."""
    async with app.router.lifespan_context(app):
        if loaded:
            await app.state.service.catalogue.loading
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://service") as client:
            yield client


@asynccontextmanager
async def service_at(models_dir: Path, **settings: Any) -> AsyncIterator[httpx.AsyncClient]:
    """Serve the bundles of a folder in this event loop."""
    async with client_of(create_app(Settings(models_dir=models_dir, **settings))) as client:
        yield client


class ServerProcess:
    """A real server in a process of its own, which has loaded its models; `stop` asks it to drain."""

    def __init__(self, models_dir: Path, **variables: object) -> None:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("LINNET_")}
        environment |= {"LINNET_MODELS_DIR": str(models_dir), "LINNET_PORT": "0", "LINNET_PROVIDER": "cpu"}
        environment |= {f"LINNET_{name.upper()}": str(value) for name, value in variables.items()}
        self.process = subprocess.Popen(
            [sys.executable, "-W", "error", "-c", COMMAND],
            cwd=ROOT,
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.log: list[str] = []
        self.url = self._wait_for_url()
        self._follower = threading.Thread(target=self._follow, daemon=True)
        self._follower.start()

    def _wait_for_url(self) -> str:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.log.append(line)
            if match := re.search(r"Serving (http://\S+):", line):
                return match[1]
        raise RuntimeError(f"the server did not start: {''.join(self.log)}")

    def _follow(self) -> None:
        assert self.process.stderr is not None
        self.log.extend(self.process.stderr)

    def __enter__(self) -> ServerProcess:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.process.kill()
        self.process.wait()
        self._follower.join()
        if self.process.stderr is not None:
            self.process.stderr.close()

    def stop(self, timeout_s: float = 20) -> int:
        """Send SIGTERM and return the exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout_s)

    def connect(self) -> socket.socket:
        """Open a plain TCP connection."""
        url = httpx.URL(self.url)
        return socket.create_connection((url.host, url.port or 80), timeout=10)

    def resident_bytes(self) -> int:
        """Return the resident memory of the process."""
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    def peak_resident_bytes(self) -> int:
        """Return the most resident memory that the process ever had."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        found = re.search(r"VmHWM:\s+(\d+) kB", status)
        assert found is not None
        return int(found[1]) * 1024


def send(server: ServerProcess, content: bytes, name: str = "a.png") -> tuple[int, str, float]:
    """Ask what an image shows; return status, the problem's code or "ok", and the seconds it took."""
    begin_s = time.perf_counter()
    response = httpx.post(f"{server.url}/predict", files={"file": (name, content)}, timeout=30)
    return response.status_code, response.json().get("code", "ok"), time.perf_counter() - begin_s
