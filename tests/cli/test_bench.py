"""`linnet bench` times every variant and says what it ran on."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from linnet.cli import bench
from linnet.cli.bench import Timing, bench_bundle, processor, table
from linnet.preprocess import PreprocessSpec, load_image
from tests.cli.conftest import Linnet

CPU_INFO = """processor\t: 0
model name\t: Example CPU 9
flags\t\t: fpu avx2 avx512f avx512_vnni

"""


@pytest.mark.e2e
def test_every_variant_is_timed_side_by_side(linnet: Linnet, full_bundle_dir: Path) -> None:
    answer = linnet("bench", full_bundle_dir, "--batch", 1, "--batch", 3, "--seconds", 0.1, "--json")
    assert (answer.code, answer.err) == (0, "")
    rows = [json.loads(line) for line in answer.out.splitlines()]
    assert [(row["variant"], row["threads"], row["batch"]) for row in rows] == [
        (variant, 1, batch) for batch in (1, 3) for variant in ("fp32", "int8", "fp16")
    ]
    for row in rows:
        assert row["floor_images_per_s"] > 0
        assert row["images_per_s"] == pytest.approx(row["batch"] * 1000 / row["p50_ms"], rel=0.01)
        assert 0 < row["p50_ms"] <= row["p99_ms"]
    assert {row["times_fp32"] for row in rows if row["variant"] == "fp32"} == {1.0}


def test_decoding_counts_in_all_but_the_floor(full_bundle_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decode_s = 0.2

    def slowly(data: bytes, spec: PreprocessSpec) -> npt.NDArray[np.uint8]:
        time.sleep(decode_s)
        return load_image(data, spec)

    monkeypatch.setattr(bench, "load_image", slowly)
    for timing in bench_bundle(full_bundle_dir, threads=[1], batches=[1], seconds=0.1):
        assert timing.images_per_s <= 1 / decode_s < timing.floor_images_per_s
        assert timing.p50_ms >= decode_s * 1000


def test_the_table_is_for_people() -> None:
    timings = [
        Timing(
            variant="int8", threads=1, batch=16, images_per_s=812.5, p50_ms=1.2, p99_ms=2.5, floor_images_per_s=1000.0,
            times_fp32=2.25,
        )
    ]  # fmt: skip
    head, row = table(timings).splitlines()
    assert head.split() == ["variant", "threads", "batch", "images/s", "p50", "ms", "p99", "ms", "bare", "images/s",
                            "x", "fp32"]  # fmt: skip
    assert row.split() == ["int8", "1", "16", "812.5", "1.2", "2.5", "1000.0", "2.25"]
    assert len(head) == len(row)


def test_the_instruction_sets_are_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cpuinfo").write_text(CPU_INFO)
    monkeypatch.setattr(bench, "CPU_INFO", tmp_path / "cpuinfo")
    assert processor() == "Example CPU 9 (avx2, avx512f, avx512_vnni)"
    monkeypatch.setattr(bench, "CPU_INFO", tmp_path / "none")
    assert processor()


def test_what_is_no_bundle_is_said(linnet: Linnet, tmp_path: Path) -> None:
    answer = linnet("bench", tmp_path)
    assert answer.code == 1
    assert answer.complaint.startswith(f"There is no bundle at {tmp_path}") or "no bundle" in answer.complaint


def test_a_variant_that_fails_its_self_test_is_said_and_the_others_are_timed(
    linnet: Linnet, full_bundle_dir: Path, tmp_path: Path
) -> None:
    bundle = Path(shutil.copytree(full_bundle_dir, tmp_path / "models" / "colours" / "1"))
    manifest = json.loads((bundle / "bundle.json").read_text())
    for case in manifest["self_test"]:
        case["probabilities"]["int8"] = [1.0, 0.0, 0.0]
    (bundle / "bundle.json").write_text(json.dumps(manifest))
    answer = linnet("bench", bundle, "--batch", 1, "--seconds", 0.1, "--json")
    assert answer.code == 0
    assert "The int8 variant" in answer.err
    assert [json.loads(line)["variant"] for line in answer.out.splitlines()] == ["fp32", "fp16"]
