"""The findings as Markdown, section by section; what was not measured has none."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmarks.serving.payloads import TINY_FORM
from benchmarks.serving.scenarios import PHOTO_CONNECTIONS, Floor, Photos, Row, Start


@dataclass
class Findings:
    """All of one run."""

    model: str
    precision: str
    size_px: int
    machine: dict[str, Any]
    options: dict[str, Any]
    settings: dict[str, str]
    peer_versions: dict[str, str] = field(default_factory=dict)
    floor: Floor | None = None
    starts: list[Start] = field(default_factory=list)
    closed: list[Row] = field(default_factory=list)
    open: list[Row] = field(default_factory=list)
    photos: list[Photos] = field(default_factory=list)
    peers: list[Row] = field(default_factory=list)


def to_markdown(found: Findings) -> str:
    """Return the tables under one heading."""
    sections = (_floor(found), _starts(found), _closed(found), _open(found), _photos(found), _peers(found))
    return "\n\n".join([_head(found), *(section for section in sections if section)])


def _head(found: Findings) -> str:
    machine, options = found.machine, found.options
    versions = ", ".join(
        f"{name} {version}" for name, version in {**found.peer_versions, **machine["versions"]}.items()
    )
    settings = "".join(f"; {name}={value}" for name, value in found.settings.items())
    return (
        f"## {found.model}, {found.precision}, {found.size_px} px\n\n"
        f"{machine['processor']}, {machine['cores']} cores, {machine['memory_gib']} GiB, shared with the load tool; "
        f"{options['rounds']} rounds of {options['seconds']} s, medians; load average before: "
        f"{machine['load_before'][0]}; {machine['utc']}, revision {machine['revision']}{settings}. {versions}."
    )


def _floor(found: Findings) -> str:
    if found.floor is None:
        return ""
    rows = [[str(batch), _count(rate)] for batch, rate in found.floor.images_per_s.items()]
    text = (
        "### Raw floor\n\nONNX Runtime alone, one single-threaded session per core, the same file and pixels. "
        f"One session with one image: {found.floor.latency_ms:.2f} ms at the median."
    )
    return f"{text}\n\n{_table(('batch', 'images/s'), rows)}"


def _starts(found: Findings) -> str:
    rows = [
        [start.contestant, f"{start.ready_s:.2f}", _list(start.resident_mb), _list(start.loaded_mb)]
        for start in found.starts
    ]
    head = ("", "start to ready, s", "resident MB of each process", "after load")
    return f"### Start and memory\n\n{_table(head, rows)}" if rows else ""


def _closed(found: Findings) -> str:
    if not found.closed:
        return ""
    head = ("", "request", "connections", *_LOAD_HEAD)
    rows = [[row.contestant, row.payload, str(row.connections), *_load_cells(row)] for row in found.closed]
    return f"### Closed loop\n\n{_table(head, rows, words=2)}{_added(found)}"


def _added(found: Findings) -> str:
    """Say what the service adds to one image on one connection."""
    if found.floor is None:
        return ""
    raw_ms = found.floor.latency_ms
    alone = [row for row in found.closed if row.connections == 1 and row.payload == TINY_FORM.name]
    sentences = (
        f"{row.contestant}: {row.load.p50_ms:.2f} ms at the median, {row.load.p50_ms - raw_ms:+.2f} ms on the raw "
        f"session's {raw_ms:.2f} ms."
        for row in alone
    )
    return "".join(f"\n\nOne connection, one image: {sentence}" for sentence in sentences)


def _open(found: Findings) -> str:
    head = ("", "requests/s", "answered/s", "p50 ms", "p95 ms", "p99 ms", "max ms", "errors", "sender late, p99 ms")
    rows = [
        [
            row.contestant, f"{row.rate:g}", _count(row.load.images_per_s), *_times(row), f"{row.load.max_ms:.1f}",
            str(row.load.errors), f"{row.load.late_ms:.2f}",
        ]
        for row in found.open
    ]  # fmt: skip
    text = f"### Open loop\n\n{TINY_FORM.name}, at a fixed rate; times count from when a request was due."
    return f"{text}\n\n{_table(head, rows)}" if rows else ""


def _photos(found: Findings) -> str:
    head = (
        "",
        "photos/s",
        "decoding alone",
        "share",
        "p99 ms",
        "small image p50 ms",
        "its p99 ms",
        "its max ms",
        "errors",
    )
    rows = [
        [
            one.contestant, f"{one.photos.images_per_s:.1f}", f"{one.decoding_images_per_s:.1f}",
            _share(one.photos.images_per_s, one.decoding_images_per_s), f"{one.photos.p99_ms:.0f}",
            f"{one.probe.p50_ms:.1f}", f"{one.probe.p99_ms:.1f}", f"{one.probe.max_ms:.1f}",
            str(one.photos.errors + one.probe.errors),
        ]
        for one in found.photos
    ]  # fmt: skip
    text = f"### Photos\n\n4000x3000 on {PHOTO_CONNECTIONS} connections, and a 32-px image every 50 ms on another."
    return f"{text}\n\n{_table(head, rows)}" if rows else ""


def _peers(found: Findings) -> str:
    head = ("", "request", *_LOAD_HEAD)
    rows = [[row.contestant, row.payload, *_load_cells(row)] for row in found.peers]
    if not rows:
        return ""
    text = f"### Peers\n\nThe same file and the same answer, {found.peers[0].connections} connections, in turns."
    return f"{text}\n\n{_table(head, rows, words=2)}"


_LOAD_HEAD = (
    "images/s", "% of floor", "p50 ms", "p95 ms", "p99 ms", "server CPU ms/image", "tool CPU ms/image", "errors",
)  # fmt: skip


def _load_cells(row: Row) -> list[str]:
    load = row.load
    return [
        _count(load.images_per_s), _share(load.images_per_s, row.floor_images_per_s), *_times(row),
        f"{load.server_cpu_ms:.2f}", f"{load.tool_cpu_ms:.3f}", str(load.errors),
    ]  # fmt: skip


def _times(row: Row) -> list[str]:
    return [
        f"{time_ms:.1f}" if time_ms >= 10 else f"{time_ms:.2f}"
        for time_ms in (row.load.p50_ms, row.load.p95_ms, row.load.p99_ms)
    ]


def _count(rate: float) -> str:
    return f"{rate:,.0f}" if rate >= 100 else f"{rate:.1f}"


def _share(part: float, whole: float) -> str:
    return f"{part / whole:.0%}"


def _list(numbers: Sequence[float]) -> str:
    return ", ".join(f"{number:.0f}" for number in numbers)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]], words: int = 1) -> str:
    """Return a table whose first columns are words, to the left, and the others numbers, to the right."""
    lines = [head, ["---"] * words + ["---:"] * (len(head) - words), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
