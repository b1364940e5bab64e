"""`linnet report` prints the page it made, or says why there is none; `linnet train` ends with a report."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.cli.conftest import Linnet


def test_the_result_is_the_page(linnet: Linnet, run_dir: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(run_dir, run)
    answer = linnet("report", run)
    assert (answer.code, answer.out) == (0, f"{run}/report.html\n")
    assert (run / "report.html").is_file()
    assert (run / "report.md").is_file()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("{tmp}",), "There is no finished run in {tmp}: name a folder that `linnet train` has written."),
        (("{run}", "--layer", "head"), "There are no feature maps of a layer 'head': choose one of blocks.0, blocks.1"),
    ],
)
def test_a_mistake_is_one_sentence(
    linnet: Linnet, run_dir: Path, tmp_path: Path, options: tuple[str, ...], sentence: str
) -> None:
    places = {"tmp": tmp_path, "run": run_dir}
    before = set(run_dir.rglob("*"))
    answer = linnet("report", *(option.format(**places) for option in options))
    assert answer.complaint.startswith(sentence.format(**places))
    assert answer.code == 2
    assert set(run_dir.rglob("*")) == before
    assert not list(tmp_path.iterdir())
