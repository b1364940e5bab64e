"""How many processors this process may really use.

Inside a container the host's core count is wrong by an order of magnitude; the scheduler's affinity mask and the
cgroup's CPU quota decide.
"""

from __future__ import annotations

import math
import os
from pathlib import Path

CGROUP_ROOT = Path("/sys/fs/cgroup")


def usable_cpus(cgroup_root: Path = CGROUP_ROOT) -> int:
    """Return the number of processors by affinity and cgroup quota, whichever is less; at least 1."""
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _quota(cgroup_root)
    return max(1, affinity if quota is None else min(affinity, math.ceil(quota)))


def _quota(cgroup_root: Path) -> float | None:
    """Return the CPU quota in processors, from cgroup v2 (`cpu.max`) or v1 (`cpu.cfs_*`); None where there is none."""
    try:
        allowance, period = (cgroup_root / "cpu.max").read_text().split()
        return None if allowance == "max" else int(allowance) / int(period)
    except (OSError, ValueError):
        pass
    try:
        allowance_us = int((cgroup_root / "cpu" / "cpu.cfs_quota_us").read_text())
        period_us = int((cgroup_root / "cpu" / "cpu.cfs_period_us").read_text())
    except (OSError, ValueError):
        return None
    return allowance_us / period_us if allowance_us > 0 and period_us > 0 else None
