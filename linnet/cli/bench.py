"""Time a bundle's variants on this machine, so that one number can be held against another.

The variants take turns, so that whatever else the machine does falls on all of them alike. Within a turn a variant runs
again and again, as it does where it is served: a run of another one would throw its weights out of the caches.
"""

from __future__ import annotations

import base64
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

from linnet.bundle import read_manifest, verify_files
from linnet.choice import open_bundle
from linnet.errors import SelfTestFailed
from linnet.manifest import Manifest, Precision
from linnet.preprocess import load_image
from linnet.session import Network, Placement

CPU_INFO = Path("/proc/cpuinfo")
INSTRUCTION_SETS = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "amx_int8", "avx512_bf16", "asimddp", "i8mm")
WARM_UP_RUNS = 3
TURN_S = 0.05


class Timing(BaseModel):
    """How fast one variant is with so many threads and images per run."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    variant: Precision
    threads: int
    batch: int
    images_per_s: float = Field(description="from encoded images to answers, decoding on the same thread")
    p50_ms: float = Field(description="of one batch, decoding included")
    p99_ms: float
    floor_images_per_s: float = Field(description="ONNX Runtime alone: the same pixels again and again")
    times_fp32: float = Field(description="floor over that of fp32 with the same threads and batch")


@dataclass
class _Lane:
    """One variant under measurement."""

    precision: Precision
    network: Network
    whole_s: list[float] = field(default_factory=list)
    bare_s: list[float] = field(default_factory=list)


def bench_bundle(
    directory: Path,
    threads: Sequence[int],
    batches: Sequence[int],
    seconds: float,
    say: Callable[[str], None] = lambda _: None,
) -> list[Timing]:
    """Time every variant that can be trusted here with every number of threads and images.

    `say` is told of those that cannot, or only with slower settings. Raises a `BundleError` where none can.
    """
    manifest = read_manifest(directory)
    verify_files(directory, manifest)
    timings: list[Timing] = []
    for thread_count in threads:
        lanes = _open_lanes(directory, manifest, thread_count, say)
        for batch in batches:
            _run_lanes(lanes, manifest, batch, seconds * len(lanes))
            timings += _timings(lanes, thread_count, batch)
    return timings


def _open_lanes(directory: Path, manifest: Manifest, threads: int, say: Callable[[str], None]) -> list[_Lane]:
    """Open the variants as a service would."""
    lanes: list[_Lane] = []
    failure: SelfTestFailed | None = None
    for variant in manifest.variants:
        try:
            opened = open_bundle(directory, manifest, Placement("cpu", threads), wanted=variant.precision)
        except SelfTestFailed as error:
            failure = error
            say(str(error))
            continue
        if opened.fallback:
            say(opened.fallback)
        lanes.append(_Lane(variant.precision, opened.network))
    if failure is not None and not lanes:
        raise failure
    return lanes


def _run_lanes(lanes: Sequence[_Lane], manifest: Manifest, batch: int, seconds: float) -> None:
    """Fill the lanes with the times of whole and bare runs, in turns, for `seconds` altogether."""
    encoded = [base64.b64decode(case.image_png) for case in manifest.self_test]
    chosen = [encoded[index % len(encoded)] for index in range(batch)]

    def decode() -> npt.NDArray[np.uint8]:
        return np.stack([load_image(data, manifest.preprocess) for data in chosen])

    pixels = decode()
    for lane in lanes:
        lane.whole_s.clear()
        lane.bare_s.clear()
        for _ in range(WARM_UP_RUNS):
            lane.network(pixels)
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        for lane in lanes:
            lane.bare_s += _turn(partial(lane.network.run_bare, pixels))
            lane.whole_s += _turn(partial(_answer, lane.network, decode))


def _answer(network: Network, decode: Callable[[], npt.NDArray[np.uint8]]) -> object:
    return network(decode())


def _turn(work: Callable[[], object]) -> list[float]:
    """Time the same work again and again, at least once."""
    work()  # finds the caches as others left them
    end = time.perf_counter() + TURN_S
    times = [_seconds(work)]
    while time.perf_counter() < end:
        times.append(_seconds(work))
    return times


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _timings(lanes: Sequence[_Lane], threads: int, batch: int) -> list[Timing]:
    floors = {lane.precision: batch / float(np.median(lane.bare_s)) for lane in lanes}
    return [
        Timing(
            variant=lane.precision,
            threads=threads,
            batch=batch,
            images_per_s=round(batch / float(np.median(lane.whole_s)), 1),
            p50_ms=round(float(np.percentile(lane.whole_s, 50)) * 1000, 3),
            p99_ms=round(float(np.percentile(lane.whole_s, 99)) * 1000, 3),
            floor_images_per_s=round(floors[lane.precision], 1),
            times_fp32=round(floors[lane.precision] / floors.get("fp32", floors[lane.precision]), 2),
        )
        for lane in lanes
    ]


def table(timings: Sequence[Timing]) -> str:
    """Return the timings as a table for people."""
    head = ("variant", "threads", "batch", "images/s", "p50 ms", "p99 ms", "bare images/s", "x fp32")
    rows = [tuple(str(value) for value in timing.model_dump().values()) for timing in timings]
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
    return "\n".join(
        "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in (head, *rows)
    )


def processor() -> str:
    """Return the name of the processor and those of its instruction sets that decide the speed of int8."""
    try:
        lines = CPU_INFO.read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    known = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    flags = set(known.get("flags", known.get("Features", "")).split())
    found = [name for name in INSTRUCTION_SETS if name in flags]
    return f"{known.get('model name', platform.machine())} ({', '.join(found) or 'no vector extension known here'})"
