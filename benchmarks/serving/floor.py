"""What the cores can do when nothing but the work is done: one process per core, each with one thread.

`Inference` is the raw floor that a service is held against: ONNX Runtime on the same file with the same pixels.
`Decoding` is that of large photos, where decoding is all the work there is.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier
from typing import Protocol

import numpy as np

from benchmarks.serving.subject import Subject
from linnet.preprocess import PreprocessSpec, load_image
from linnet.session import Placement, open_network

WARM_UP_RUNS = 3
START_S = 60.0  # for a process to import, open and warm up


class Job(Protocol):
    """Work that a process prepares for itself and then repeats."""

    def prepare(self) -> Callable[[], int]:
        """Return a function that does a piece of the work and says how many images that was."""
        ...


@dataclass(frozen=True)
class Inference:
    """Runs of one single-threaded session on a batch."""

    subject: Subject
    batch: int

    def prepare(self) -> Callable[[], int]:
        """Open the file."""
        network, pixels = open_network(self.subject.file, Placement("cpu")), self.subject.pixels(self.batch)

        def run() -> int:
            network.run_bare(pixels)
            return self.batch

        return run


@dataclass(frozen=True)
class Decoding:
    """`load_image` on one image."""

    data: bytes
    spec: PreprocessSpec

    def prepare(self) -> Callable[[], int]:
        """Nothing to prepare."""

        def run() -> int:
            load_image(self.data, self.spec)
            return 1

        return run


def images_per_s(job: Job, processes: int, seconds: float) -> float:
    """Return what so many processes reach together."""
    context = multiprocessing.get_context("spawn")
    begin = context.Barrier(processes)
    rates: Queue[float] = context.Queue()
    workers = [context.Process(target=_work, args=(job, seconds, begin, rates), daemon=True) for _ in range(processes)]
    try:
        for worker in workers:
            worker.start()
        return sum(rates.get(timeout=START_S + 2 * seconds) for _ in workers)
    finally:
        for worker in workers:
            worker.join(1)
            worker.kill()


def _work(job: Job, seconds: float, begin: Barrier, rates: Queue[float]) -> None:
    work = job.prepare()
    for _ in range(WARM_UP_RUNS):
        work()
    begin.wait(START_S)
    images, start_s = 0, time.perf_counter()
    while (elapsed_s := time.perf_counter() - start_s) < seconds:
        images += work()
    rates.put(images / elapsed_s)


def latency_ms(job: Job, seconds: float) -> float:
    """Return the median time of one piece of the work in this process, with nothing beside it."""
    work = job.prepare()
    for _ in range(WARM_UP_RUNS):
        work()
    times_s: list[float] = []
    end_s = time.perf_counter() + seconds
    while (start_s := time.perf_counter()) < end_s:
        work()
        times_s.append(time.perf_counter() - start_s)
    return float(np.median(times_s)) * 1000
