"""What a server and everything that it starts cost: processor time and resident memory, read from /proc (Linux)."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

TICKS_PER_S = os.sysconf("SC_CLK_TCK")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class Process:
    """One process as /proc/PID/stat shows it (proc(5)); PID and start together name it for ever."""

    pid: int
    parent: int
    session: int
    cpu_s: float  # user and system time, that of children it has waited for included
    rss_mb: float
    started_ticks: int


def tree(root: int) -> list[Process]:
    """Return the process `root` and all that descend from it, the root first; none of them where it has gone."""
    found = {process.pid: process for process in map(_read, _pids()) if process is not None}
    members = [found[root]] if root in found else []
    for member in members:  # grows while it is walked
        members += [process for process in found.values() if process.parent == member.pid]
    return members


def cpu_s(root: int) -> float:
    """Return the processor time in seconds that the tree has taken so far."""
    return sum(process.cpu_s for process in tree(root))


def open_files(pid: int) -> int:
    """Return how many file descriptors a process holds."""
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def kill_left(root: int, members: list[Process]) -> None:
    """Kill what is left of a tree: once seen `members`, and all of the session that the root began."""
    known = {(member.pid, member.started_ticks) for member in members}
    for pid in _pids():
        process = _read(pid)
        if process is not None and (process.session == root or (pid, process.started_ticks) in known):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def _pids() -> list[int]:
    return [int(path.name) for path in Path("/proc").iterdir() if path.name.isdecimal()]


def _read(pid: int) -> Process | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()  # from field 3 on; the name before may hold anything
    ticks = sum(int(field) for field in fields[11:15])
    return Process(
        pid=pid,
        parent=int(fields[1]),
        session=int(fields[3]),
        cpu_s=ticks / TICKS_PER_S,
        rss_mb=int(fields[21]) * PAGE_BYTES / 1e6,
        started_ticks=int(fields[19]),
    )
