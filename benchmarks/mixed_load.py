"""Ten minutes of everything at once, against a service of its own, and the sums afterwards.

Images of all sizes, several per request, damaged ones, wrong requests, clients that leave, tensors, probes and reloads
go on side by side. At the end the service must not have answered with any 5xx but 503, nor hold more open files than
after the first fifth of the time, and its metrics must add up to what was counted here. Memory goes up and down with
what the allocator keeps, so the last two fifths are held against the second and the third.

    python -m benchmarks.mixed_load [--seconds 600] [--clients 16] [--models-dir models] [--model cifar10]
"""

from __future__ import annotations

import argparse
import asyncio
import io
import json
import random
import sys
import time
from collections import Counter
from pathlib import Path
from statistics import mean
from typing import Any

import httpx
import numpy as np
from PIL import Image
from prometheus_client.parser import text_string_to_metric_families

from benchmarks.serving.contestants import linnet
from benchmarks.serving.server import Server, running

ADMIN = {"x-api-key": "mixed-load"}
STRETCHES = 5  # of the time, after each of which memory and files are measured
Ends = Counter[tuple[str, int, str]]  # route, status, code


def photo(width: int, height: int, seed: int) -> bytes:
    """Return a JPEG that looks like something, so that decoding it costs what a photo costs."""
    noise = np.random.default_rng(seed).integers(0, 256, (height // 8 + 1, width // 8 + 1, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=88)
    return buffer.getvalue()


class Load:
    """What is sent, and how it ended."""

    def __init__(self, url: str, model: str, side_px: int, seed: int) -> None:
        self._client = httpx.AsyncClient(base_url=url, timeout=60, limits=httpx.Limits(max_connections=None))
        self._model = model
        self._source = random.Random(seed)
        sizes = [(32, 32)] * 6 + [(640, 480)] * 3 + [(1280, 960), (4000, 3000)]
        self._photos = [photo(*size, number) for number, size in enumerate(sizes)]
        self._tensor = np.random.default_rng(seed).integers(0, 256, (4, side_px, side_px, 3), np.uint8)
        self.ends: Ends = Counter()
        self.left = 0

    async def run(self, until_s: float, clients: int) -> None:
        """Send until the time has come."""
        kinds = [self._one] * 8 + [self._many] * 3 + [self._wrong] * 3 + [self._leave] * 3 + [self._infer] * 2
        kinds += [self._look]

        async def client(number: int) -> None:
            source = random.Random(number)
            while time.monotonic() < until_s:
                await source.choice(kinds)()

        await asyncio.gather(self._reload(until_s), *(client(number) for number in range(clients)))
        await self._client.aclose()

    async def _send(self, route: str, method: str, url: str, **request: Any) -> None:
        response = await self._client.request(method, url, **request)
        code = "ok"
        if response.status_code >= 400:
            body = response.json()
            code = body.get("code", "(protocol)")
        self.ends[route, response.status_code, code] += 1

    async def _one(self) -> None:
        await self._send("/predict", "POST", "/predict", content=self._source.choice(self._photos))

    async def _many(self) -> None:
        count = self._source.choice((2, 8, 32))
        images = [self._source.choice(self._photos[:10]) for _ in range(count)]
        images[0] = self._source.choice((images[0], b"no image"))
        files = [("file", (f"{number}.jpg", image)) for number, image in enumerate(images)]
        await self._send("/predict", "POST", "/predict", files=files)

    async def _wrong(self) -> None:
        request: dict[str, Any] = self._source.choice(
            (
                {"content": b"no image"},
                {"content": self._photos[7][:3000]},
                {"content": b"{", "headers": {"content-type": "application/json"}},
                {"content": b"x", "headers": {"content-type": "text/html"}},
                {"content": self._photos[0], "params": {"model": "nothing"}},
                {"content": bytes(33 * 1024 * 1024)},
            )
        )
        await self._send("/predict", "POST", "/predict", **request)

    async def _leave(self) -> None:
        """Send and hang up after a moment; whether that was before the answer is the service's to say."""
        patience_s = self._source.choice((0.0005, 0.003, 0.01, 0.03))
        try:
            async with asyncio.timeout(patience_s):
                await self._send("/predict", "POST", "/predict", content=self._source.choice(self._photos))
        except TimeoutError:
            self.left += 1

    async def _infer(self) -> None:
        header = json.dumps(
            {
                "inputs": [
                    {
                        "name": "image",
                        "shape": list(self._tensor.shape),
                        "datatype": "UINT8",
                        "parameters": {"binary_data_size": self._tensor.nbytes},
                    }
                ]
            }
        ).encode()
        await self._send(
            "/v2/models/{name}/infer",
            "POST",
            f"/v2/models/{self._model}/infer",
            content=header + self._tensor.tobytes(),
            headers={"Inference-Header-Content-Length": str(len(header))},
        )

    async def _look(self) -> None:
        path = self._source.choice(("/healthz", "/readyz", "/models"))
        await self._send(path, "GET", path)

    async def _reload(self, until_s: float) -> None:
        while time.monotonic() < until_s - 1:
            url = f"/v2/repository/models/{self._model}/load"
            await self._send("/v2/repository/models/{name}/load", "POST", url, headers=ADMIN)
            await asyncio.sleep(2)


def counted(server: Server) -> Ends:
    """Return what the service has counted, protocol errors under one code as the clients see them."""
    found: Ends = Counter()
    for family in text_string_to_metric_families(httpx.get(f"{server.url}/metrics").text):
        for sample in family.samples:
            if sample.name == "linnet_requests_total":
                route, status, code = (sample.labels[name] for name in ("route", "status", "code"))
                is_protocol = route.startswith("/v2") and code not in ("ok", "client_gone")
                found[route, int(status), "(protocol)" if is_protocol else code] += int(sample.value)
    return found


def rested(server: Server) -> tuple[float, int]:
    """Return resident megabytes and open files once nothing is pending."""
    for _ in range(100):
        text = httpx.get(f"{server.url}/metrics").text
        if "linnet_pending_images 0.0" in text:
            break
        time.sleep(0.1)
    time.sleep(1)
    return sum(server.resident_mb()), server.open_files()


def main() -> None:
    """Run it and print what was found as JSON; exits with 1 where something did not hold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--models-dir", type=Path, default=Path("models"))
    parser.add_argument("--model", default="cifar10")
    options = parser.parse_args()
    environment = {
        "LINNET_MODELS_DIR": str(options.models_dir.absolute()),
        "LINNET_ADMIN_KEYS": ADMIN["x-api-key"],
        "LINNET_ACCESS_LOG": "false",
    }
    with running(linnet("Linnet", environment)) as server:
        listed = httpx.get(f"{server.url}/models/{options.model}").json()["models"]
        side_px = listed[-1]["input_size"]
        before = counted(server)  # it was asked whether it is ready
        parts = []
        held = []
        for number in range(STRETCHES):
            load = Load(server.url, options.model, side_px, seed=number)
            asyncio.run(load.run(time.monotonic() + options.seconds / STRETCHES, options.clients))
            parts.append(load)
            held.append(rested(server))
        seen = counted(server) - before
        status = server.stop()
        found = report(parts, seen, held, status, server.log())
    sys.stdout.write(json.dumps(found, indent=2) + "\n")
    sys.exit(0 if found["holds"] else 1)


def report(parts: list[Load], seen: Ends, held: list[tuple[float, int]], status: int, log: str) -> dict[str, Any]:
    """Hold what was sent against what was counted, and the end against the beginning.

    Requests that their clients left are in the service's count as answered or as `client_gone`, or never came to be: so
    the two sums may differ by those alone.
    """
    sent: Ends = sum((load.ends for load in parts), Counter())
    left = sum(load.left for load in parts)
    ours = {end: count for end, count in seen.items() if end[0] not in ("/metrics", "/models/{name}")}
    extra = {end: count - sent[end] for end, count in ours.items() if count != sent[end]}
    missing = {end: count for end, count in sent.items() if count > seen[end]}
    unexplained = {end: count for end, count in extra.items() if end[0] != "/predict"}
    bad = {end: count for end, count in seen.items() if end[1] >= 500 and end[1] != 503}
    resident_mb, open_files = zip(*held, strict=True)
    holds = {
        "no 5xx but 503": not bad,
        "the metrics add up": not missing and not unexplained and sum(extra.values()) <= left,
        "memory grew by less than 5 % after it was warm": mean(resident_mb[-2:]) < mean(resident_mb[1:3]) * 1.05,
        "no open file more": open_files[-1] <= open_files[0],
        "drained with status 0": status == 0,
        "no traceback": "Traceback" not in log,
    }
    return {
        "holds": all(holds.values()),
        "checks": holds,
        "requests": sum(sent.values()),
        "left by their clients": left,
        "of these counted": sum(extra.values()),
        "ends": {" ".join(map(str, end)): count for end, count in sorted(seen.items())},
        "resident_mb": list(resident_mb),
        "open_files": list(open_files),
        "bad": {" ".join(map(str, end)): count for end, count in {**bad, **missing, **unexplained}.items()},
    }


if __name__ == "__main__":
    main()
