"""The closed loop: so many connections, each sending its next request when it has the answer to the last.

`wrk` sends. Its percentiles are corrected by itself: for an answer that took more than twice the mean, it adds the ones
that would have been waited for meanwhile. It counts a status from 400 on as an error; that the good ones are 200 is
checked before with a request of its own.
"""

from __future__ import annotations

import json
import resource
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from types import TracebackType

from benchmarks.serving.load import Load
from benchmarks.serving.payloads import Payload
from benchmarks.serving.server import HOST, Server

ANSWER_S = 30  # longer is an error
GRACE_S = 30.0  # beyond the time told, for wrk to end

SCRIPT = """
local file = io.open("{body}", "rb")
wrk.method = "POST"
wrk.body = file:read("*a")
wrk.headers["Content-Type"] = "{content_type}"
file:close()
function done(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format(
    '\\n{{"requests": %d, "us": %d, "status": %d, "socket": %d, "p50": %f, "p95": %f, "p99": %f, "max": %f}}\\n',
    summary.requests, summary.duration, errors.status,
    errors.connect + errors.read + errors.write + errors.timeout,
    latency:percentile(50), latency:percentile(95), latency:percentile(99), latency.max))
end
"""


def require_wrk() -> str:
    """Return the version of wrk; exits with a sentence where it is not installed."""
    if shutil.which("wrk") is None:
        sys.exit("The closed loop is sent by wrk, which is not installed: `apt-get install wrk`, or your system's way.")
    return subprocess.run(["wrk", "--version"], capture_output=True, text=True, check=False).stdout.split(" [")[0]


class Wrk:
    """A run of wrk, from its start; `with` ends it where nobody waited for its result."""

    def __init__(self, server: Server, payload: Payload, connections: int, seconds: int) -> None:
        self._server, self._payload, self._seconds = server, payload, seconds
        self._folder = tempfile.TemporaryDirectory()
        body, script = Path(self._folder.name) / "body", Path(self._folder.name) / "post.lua"
        body.write_bytes(payload.body)
        script.write_text(SCRIPT.format(body=body, content_type=payload.content_type))
        self._server_cpu_s, self._tool_cpu_s = server.cpu_s(), _ended_cpu_s()
        self._process = subprocess.Popen(
            ["wrk", "--threads", "1", "--connections", str(connections), "--duration", f"{seconds}s", "--timeout",
             f"{ANSWER_S}s", "--script", str(script), f"http://{HOST}:{server.port}{server.contestant.path}"],
            stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def result(self) -> Load:
        """Wait for its end and return what it measured."""
        text, _ = self._process.communicate(timeout=self._seconds + GRACE_S)
        server_cpu_s, tool_cpu_s = self._server.cpu_s() - self._server_cpu_s, _ended_cpu_s() - self._tool_cpu_s
        last = text.strip().rpartition("\n")[2]
        if self._process.returncode != 0 or not last.startswith("{"):
            sys.exit(f"wrk failed with status {self._process.returncode}: {text}")
        said = json.loads(last)
        images = max(1, (said["requests"] - said["status"]) * self._payload.images)
        return Load(
            requests=said["requests"],
            errors=said["status"] + said["socket"],
            images_per_s=(said["requests"] - said["status"]) * self._payload.images / said["us"] * 1e6,
            p50_ms=said["p50"] / 1000,
            p95_ms=said["p95"] / 1000,
            p99_ms=said["p99"] / 1000,
            max_ms=said["max"] / 1000,
            server_cpu_ms=server_cpu_s / images * 1000,
            tool_cpu_ms=tool_cpu_s / images * 1000,
        )

    def __enter__(self) -> Wrk:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.communicate()
        self._folder.cleanup()


def closed_loop(server: Server, payload: Payload, connections: int, seconds: int) -> Load:
    """Load a server for some seconds and return what came of it."""
    with Wrk(server, payload, connections, seconds) as wrk:
        return wrk.result()


def _ended_cpu_s() -> float:
    """Return the processor time of all processes that this one has waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
