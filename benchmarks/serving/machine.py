"""On what a benchmark ran."""

from __future__ import annotations

import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import version

from benchmarks.serving.server import ROOT
from linnet.cli.bench import processor
from linnet.cpu import usable_cpus

LIBRARIES = ("onnxruntime", "pillow", "numpy", "fastapi", "uvicorn", "uvloop")


def describe(wrk: str | None) -> dict[str, object]:
    """Return the machine, the versions and the moment."""
    memory_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    versions = {"python": platform.python_version(), **{name: version(name) for name in LIBRARIES}}
    if wrk is not None:
        versions["wrk"] = wrk.removeprefix("wrk ")
    return {
        "processor": processor(),
        "cores": usable_cpus(),
        "memory_gib": round(memory_bytes / 1024**3, 1),
        "system": platform.platform(),
        "versions": versions,
        "revision": _revision(),
        "utc": datetime.now(UTC).isoformat(timespec="seconds"),
        "load_before": [round(load, 2) for load in os.getloadavg()],  # should be near 0: others make figures worthless
    }


def _revision() -> str | None:
    try:
        command = ["git", "describe", "--always", "--dirty"]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
