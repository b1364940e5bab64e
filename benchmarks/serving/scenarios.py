"""What is measured of the service alone. Whatever is compared takes turns, so that all meet the same machine."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median

from benchmarks.serving.closed_loop import Wrk, closed_loop
from benchmarks.serving.contestants import check_answer, check_good
from benchmarks.serving.floor import Decoding, Inference, images_per_s, latency_ms
from benchmarks.serving.load import Load, medians
from benchmarks.serving.open_loop import open_loop
from benchmarks.serving.payloads import TINY_FORM, all_payloads, photo
from benchmarks.serving.progress import say
from benchmarks.serving.server import Contestant, Server, running
from benchmarks.serving.subject import Subject

REST_S = 0.2  # between two loads, for the server to finish what the first left behind
SHARES = (0.5, 0.8)  # of the closed loop's images/s, as rates of the open loop unless others are told
OPEN_CONNECTIONS = 32  # of the closed loop that the shares are of
PHOTO_CONNECTIONS = 8
PROBE_RATE = 20.0  # a small image every 50 ms
PHOTO_LENGTH = 3  # times the seconds of the others, for the probe is seldom


@dataclass(frozen=True)
class Plan:
    """How long and how often."""

    seconds: int
    rounds: int
    cores: int


@dataclass(frozen=True)
class Floor:
    """Raw ONNX Runtime on the same cores."""

    images_per_s: dict[int, float]  # by batch size, one single-threaded session per core
    latency_ms: float  # median of one session with one image

    @property
    def batch(self) -> int:
        """Return the best batch size."""
        return max(self.images_per_s, key=lambda batch: self.images_per_s[batch])


@dataclass(frozen=True)
class Row:
    """A load on a contestant, as medians of all rounds."""

    contestant: str
    payload: str
    connections: int
    rate: float | None  # requests/s of an open loop
    load: Load
    floor_images_per_s: float  # median of the same rounds
    rounds: tuple[Load, ...]


@dataclass(frozen=True)
class Start:
    """How a contestant started, and what it held then and after some load."""

    contestant: str
    ready_s: float  # median
    all_ready_s: tuple[float, ...]
    resident_mb: list[float]
    loaded_mb: list[float]


@dataclass(frozen=True)
class Photos:
    """Photos on all connections but one, which sends small images meanwhile."""

    contestant: str
    photos: Load
    probe: Load
    decoding_images_per_s: float  # alone, on all cores, median of the same rounds
    rounds: tuple[tuple[float, Load, Load], ...]  # decoding, photos, probe


def measure_floor(subject: Subject, plan: Plan, batches: Iterable[int]) -> Floor:
    """Measure raw ONNX Runtime at every batch size."""
    rates = {}
    for batch in batches:
        rates[batch] = images_per_s(Inference(subject, batch), plan.cores, plan.seconds)
        say(f"floor, batch {batch}: {rates[batch]:.0f} images/s")
    return Floor(rates, latency_ms(Inference(subject, 1), plan.seconds))


def measure_starts(contestants: Sequence[Contestant], plan: Plan) -> list[Start]:
    """Start everybody several times; once, load it as well."""
    ready_s: dict[str, list[float]] = defaultdict(list)
    held: dict[str, tuple[list[float], list[float]]] = {}
    for _ in range(plan.rounds):
        for contestant in contestants:
            with running(contestant) as server:
                ready_s[contestant.name].append(server.ready_s)
                if contestant.name not in held:
                    fresh = server.resident_mb()
                    closed_loop(server, contestant.tiny, OPEN_CONNECTIONS, plan.seconds)
                    held[contestant.name] = fresh, server.resident_mb()
            say(f"{contestant.name}: ready after {ready_s[contestant.name][-1]:.2f} s")
    return [Start(name, median(times), tuple(times), *held[name]) for name, times in ready_s.items()]


def measure_closed(
    subject: Subject, contestants: Sequence[Contestant], plan: Plan, floor: Floor, connections: Sequence[int]
) -> list[Row]:
    """Run every payload at every number of connections."""
    loads: dict[tuple[str, str, int], list[Load]] = defaultdict(list)
    floors, payloads, expected = [], all_payloads(), subject.answer()
    for _ in range(plan.rounds):
        floors.append(images_per_s(Inference(subject, floor.batch), plan.cores, plan.seconds))
        for contestant in contestants:
            with running(contestant) as server:
                check_answer(server, subject, expected)
                warm(server)
                for payload in payloads:
                    check_good(server, payload)
                    for count in connections:
                        load = closed_loop(server, payload, count, plan.seconds)
                        loads[contestant.name, payload.name, count].append(load)
                        say(f"{contestant.name}, {payload.name}, {count}: {load.images_per_s:.0f} images/s")
                        time.sleep(REST_S)
    return [
        Row(name, payload, count, None, medians(found), median(floors), tuple(found))
        for (name, payload, count), found in loads.items()
    ]


def measure_open(contestants: Sequence[Contestant], plan: Plan, floor: Floor, rates: Sequence[float]) -> list[Row]:
    """Send small images at fixed rates: those told, or shares of what the closed loop reaches here."""
    loads: dict[tuple[str, float], list[Load]] = defaultdict(list)
    chosen: dict[str, Sequence[float]] = {}
    for _ in range(plan.rounds):
        for contestant in contestants:
            with running(contestant) as server:
                reached = warm(server)
                chosen.setdefault(contestant.name, rates or [max(1, round(share * reached)) for share in SHARES])
                for rate in chosen[contestant.name]:
                    load = open_loop(server, contestant.tiny, rate, plan.seconds)
                    loads[contestant.name, rate].append(load)
                    say(f"{contestant.name}, {rate:g}/s: p99 {load.p99_ms:.1f} ms")
                    time.sleep(REST_S)
    best = floor.images_per_s[floor.batch]
    return [
        Row(name, TINY_FORM.name, 0, rate, medians(found), best, tuple(found)) for (name, rate), found in loads.items()
    ]


def measure_photos(subject: Subject, contestants: Sequence[Contestant], plan: Plan) -> list[Photos]:
    """Send large photos on eight connections and a small image every 50 ms on a ninth."""
    found: dict[str, list[tuple[float, Load, Load]]] = defaultdict(list)
    payload, seconds = photo(), PHOTO_LENGTH * plan.seconds
    for _ in range(plan.rounds):
        decoding = images_per_s(Decoding(payload.body, subject.manifest.preprocess), plan.cores, plan.seconds)
        for contestant in contestants:
            with running(contestant) as server:
                check_good(server, payload)
                warm(server)
                with Wrk(server, payload, PHOTO_CONNECTIONS, seconds) as wrk:
                    probe = open_loop(server, contestant.tiny, PROBE_RATE, seconds - 0.5, connections=1)
                    load = wrk.result()
            found[contestant.name].append((decoding, load, probe))
            say(f"{contestant.name}: {load.images_per_s:.1f} photos/s of {decoding:.1f}, probe {probe.p99_ms:.0f} ms")
    return [
        Photos(
            name,
            medians([load for _, load, _ in rounds]),
            medians([probe for *_, probe in rounds]),
            median(decoding for decoding, *_ in rounds),
            tuple(rounds),
        )
        for name, rounds in found.items()
    ]


def warm(server: Server) -> float:
    """Load a server for a second, so that every process of it has answered; return the images/s."""
    return closed_loop(server, server.contestant.tiny, OPEN_CONNECTIONS, 1).images_per_s
