"""`linnet score --ray` on a real cluster of two nodes, one of which is killed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from tests.service.bundles import write_model
from tests.service.running import ROOT

pytestmark = pytest.mark.alone

pytest.importorskip("ray", reason="the ray extra is not installed")

IMAGES = 240


@pytest.mark.e2e
@pytest.mark.timeout(280)
def test_a_killed_node_costs_no_row(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    for number in range(IMAGES):
        Image.new("RGB", (40, 40), (90, number, 255 - number)).save(tmp_path / "images" / f"{number:03}.png")
    words = ("benchmarks/score_on_cluster.py", tmp_path / "images", "--bundle", write_model(tmp_path / "models"))
    done = subprocess.run(
        [sys.executable, *map(str, words), "--shard-images", "8", "--kill-after-shards", "2"],
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    answer = json.loads(done.stdout.splitlines()[-1])
    assert (answer["rows"], answer["shards"], answer["equal"]) == (IMAGES, IMAGES // 8, True)
    assert (answer["nodes"], answer["nodes_alive_at_end"]) == (2, 1)
    assert answer["shards_before_the_kill"] < answer["shards"]
