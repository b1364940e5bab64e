"""Processors are counted by what the container may use, not by what the host has."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from linnet.cpu import usable_cpus


@pytest.fixture(autouse=True)
def sixteen_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the scheduler allow sixteen, whatever machine the tests run on."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(16)), raising=False)


def write_v1(root: Path, quota_us: str, period_us: str) -> None:
    (root / "cpu").mkdir()
    (root / "cpu" / "cpu.cfs_quota_us").write_text(f"{quota_us}\n")
    (root / "cpu" / "cpu.cfs_period_us").write_text(f"{period_us}\n")


@pytest.mark.parametrize(
    ("cpu_max", "expected"),
    [
        ("200000 100000", 2),
        ("150000 100000", 2),  # one and a half: the second thread is worth its half
        ("50000 100000", 1),
        ("1000 100000", 1),
        ("6400000 100000", 16),  # a quota above what the scheduler allows changes nothing
        ("max 100000", 16),
        ("nonsense", 16),
        ("", 16),
    ],
)
def test_cgroup_v2(tmp_path: Path, cpu_max: str, expected: int) -> None:
    (tmp_path / "cpu.max").write_text(f"{cpu_max}\n")
    assert usable_cpus(tmp_path) == expected


@pytest.mark.parametrize(
    ("quota_us", "period_us", "expected"),
    [("400000", "100000", 4), ("250000", "100000", 3), ("-1", "100000", 16), ("100000", "0", 16), ("many", "1", 16)],
)
def test_cgroup_v1(tmp_path: Path, quota_us: str, period_us: str, expected: int) -> None:
    write_v1(tmp_path, quota_us, period_us)
    assert usable_cpus(tmp_path) == expected


def test_version_2_decides_where_both_are_mounted(tmp_path: Path) -> None:
    write_v1(tmp_path, "400000", "100000")
    (tmp_path / "cpu.max").write_text("300000 100000\n")
    assert usable_cpus(tmp_path) == 3


def test_without_a_cgroup_the_scheduler_decides(tmp_path: Path) -> None:
    assert usable_cpus(tmp_path) == 16


def test_without_affinity_the_processor_count_decides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """macOS and Windows have no affinity mask in Python."""
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    assert usable_cpus(tmp_path) == 6
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert usable_cpus(tmp_path) == 1
