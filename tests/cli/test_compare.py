"""`linnet compare` prints a table, the reservations go to stderr, and the page appears whole or not at all."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from tests.cli.conftest import Linnet


def test_the_result_is_a_table(linnet: Linnet, run_dir: Path, tmp_path: Path) -> None:
    answer = linnet("compare", run_dir, "--output", tmp_path / "page.html")
    assert (answer.code, answer.err) == (0, "")
    header, rule, row = answer.out.splitlines()
    assert header.startswith("| Run | Backbone | Start | Images | Test accuracy |")
    assert rule.startswith("| :-- | :-- | :-- | --: |")
    assert row.startswith("| colours | mobilenet_v2 | mobilenet_v2 | 27 |")
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]


def test_reservations_are_not_part_of_the_result(linnet: Linnet, run_dir: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(run_dir, other)
    record = json.loads((other / "run.json").read_text())
    (other / "run.json").write_text(json.dumps(record | {"device": "another"}))
    answer = linnet("compare", run_dir, other)
    assert answer.code == 0
    assert answer.err.startswith("These runs were made on different devices")
    assert len(answer.out.splitlines()) == 4


def test_mistakes_are_one_sentence_and_leave_nothing(linnet: Linnet, run_dir: Path, tmp_path: Path) -> None:
    answer = linnet("compare", run_dir, tmp_path)
    assert answer.complaint.startswith(f"There is no finished run in {tmp_path}: name a folder")
    assert answer.code == 2
    answer = linnet("compare", run_dir, "--output", tmp_path / "none" / "page.html")
    assert "cannot be used (No such file or directory): check the path" in answer.complaint
    (tmp_path / "folder").mkdir()
    assert linnet("compare", run_dir, "--output", tmp_path / "folder").code == 1
    assert [path.name for path in tmp_path.rglob("*")] == ["folder"]
