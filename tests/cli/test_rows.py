"""Rows in a file, as a table, counted against folders; and a run that is stopped and goes on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from linnet.cli.rows import as_text
from linnet.cli.tally import MAX_COLUMNS, MAX_PAIRS, Tally
from service.schemas import FailedPrediction, ItemError, Prediction, Score
from tests.cli.conftest import Linnet
from tests.service.bundles import CLASSES, png, write_model
from tests.service.running import ROOT, ServerProcess


def answered(filename: str, label: str, *, uncertain: bool = False) -> Prediction:
    top = [Score(label=label, probability=0.5)]
    return Prediction(filename=filename, label=label, confidence=0.5, uncertain=uncertain, top=top)


def failed(filename: str) -> FailedPrediction:
    return FailedPrediction(
        filename=filename, error=ItemError(code="unreadable_image", detail="It is damaged: mend it.")
    )


def names(output: Path) -> list[str]:
    return [json.loads(line)["filename"] for line in output.read_text().splitlines()]


def test_a_table_is_one_line_per_image(linnet: Linnet, photos: Path, bundle_dir: Path) -> None:
    answer = linnet("predict", photos / "test" / "red", "--bundle", bundle_dir, "--table")
    lines = answer.out.splitlines()
    assert [line.split()[-1] for line in lines] == [str(path) for path in sorted((photos / "test" / "red").iterdir())]
    assert all(line.split()[2] in ("%", "%?") for line in lines)


def test_what_is_uncertain_or_failed_is_marked() -> None:
    assert as_text(answered("a.jpg", "cat", uncertain=True)).split() == ["cat", "50.0", "%?", "a.jpg"]
    assert as_text(failed("a.jpg")).split(maxsplit=1) == ["(failed)", "a.jpg: It is damaged: mend it."]


def test_truth_is_the_name_of_the_folder(linnet: Linnet, photos: Path, bundle_dir: Path) -> None:
    metrics = json.loads((bundle_dir / "bundle.json").read_text())["variants"][0]["metrics"]
    answer = linnet("predict", photos / "test", "--bundle", bundle_dir, "--truth")
    assert answer.code == 0
    assert len(answer.out.splitlines()) == metrics["n"]
    headline = answer.err.splitlines()[0]
    assert headline == f"accuracy {100 * metrics['accuracy']:.2f} % ({metrics['correct']} of {metrics['n']})"
    counts = [[int(cell) for cell in line.split()[1:]] for line in answer.err.splitlines()[3:]]
    assert sum(sum(row) for row in counts) == metrics["n"]
    assert sum(counts[index][index] for index in range(3)) == metrics["correct"]


def test_a_failed_image_counts_as_wrong() -> None:
    tally = Tally()
    for row in (answered("x/cat/1.jpg", "cat"), answered("x/cat/2.jpg", "dog"), failed("x/cat/3.jpg")):
        tally.add(row)
    tally.add(answered("alone.jpg", "dog"))
    lines = tally.lines()
    assert lines[0] == "accuracy 33.33 % (1 of 3; 1 failed and count as wrong)"
    assert lines[2].split() == ["folder", "cat", "dog", "(failed"]
    assert lines[3].split() == ["cat", "1", "1", "1"]
    assert Tally().lines() == ["No image lies in a folder that could be its label."]


def test_of_many_classes_the_confusions_are_listed() -> None:
    tally = Tally()
    for number in range(MAX_COLUMNS + 20):
        for _ in range(number + 1):
            tally.add(answered(f"{number}/a.jpg", f"{number + 1}"))
    lines = tally.lines()[2:]
    assert len(lines) == MAX_PAIRS
    assert lines[0].split() == [str(MAX_COLUMNS + 20), f"{MAX_COLUMNS + 19}", "→", f"{MAX_COLUMNS + 20}"]


def test_a_stopped_run_goes_on_where_it_was(linnet: Linnet, photos: Path, bundle_dir: Path, tmp_path: Path) -> None:
    """The file is cut in the middle of its fifth line, and one image could not be read the first time."""
    album, output = tmp_path / "red", tmp_path / "rows.jsonl"
    album.mkdir()
    for number, file in enumerate(sorted((photos / "test" / "red").iterdir())):
        (album / f"{number}.jpg").write_bytes(file.read_bytes() if number != 1 else b"not yet")
    options = (album, "--bundle", bundle_dir, "--output", output)
    assert linnet("predict", *options).code == 1
    first = output.read_text().splitlines()
    assert len(first) == 7
    output.write_text("\n".join(first[:4]) + "\n" + first[4][:20])
    (album / "1.jpg").write_bytes((album / "0.jpg").read_bytes())

    answer = linnet("predict", *options, "--skip-done", "--truth")
    assert (answer.code, answer.out) == (0, "")
    assert sorted(names(output)) == sorted(str(path) for path in album.iterdir())
    assert output.read_text().splitlines()[:3] == [first[0], first[2], first[3]]
    assert "of 7)" in answer.err.splitlines()[0]  # what was done before counts as well

    before = output.read_text()
    assert linnet("predict", *options, "--skip-done").code == 0
    assert output.read_text() == before
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_another_file_is_not_continued(linnet: Linnet, photos: Path, bundle_dir: Path, tmp_path: Path) -> None:
    output = tmp_path / "notes.txt"
    output.write_text("my notes\n")
    answer = linnet("predict", photos, "--bundle", bundle_dir, "--output", output, "--skip-done")
    assert answer.code == 2
    assert answer.complaint == f"Line 1 of {output} is no row of `linnet predict`: name another output."
    assert output.read_text() == "my notes\n"


def test_no_file_is_made_where_nothing_is_answered(linnet: Linnet, photos: Path, tmp_path: Path) -> None:
    output = tmp_path / "rows.jsonl"
    assert linnet("predict", photos, "--url", "http://127.0.0.1:9", "--output", output).code == 1
    assert not output.exists()


@pytest.mark.e2e
def test_a_run_outlives_a_restart_of_the_service(tmp_path: Path) -> None:
    """The service is killed and started again in the middle; then the run itself is killed, and goes on."""
    write_model(tmp_path / "models")
    photos, output = tmp_path / "photos", tmp_path / "rows.jsonl"
    photos.mkdir()
    for number in range(3000):
        (photos / f"{number:04d}.png").write_bytes(png(CLASSES[number % 3]))
    files = [str(photos / f"{number:04d}.png") for number in range(3000)]
    with ServerProcess(tmp_path / "models") as first:
        run = start("predict", photos, "--url", first.url, "--output", output, "--concurrency", 4)
        wait_for_rows(output, 300)
        first.process.kill()
        first.process.wait()
        with ServerProcess(tmp_path / "models", port=httpx.URL(first.url).port) as second:
            wait_for_rows(output, 1000)
            run.kill()
            run.wait()
            assert len(output.read_text().splitlines()) < 3000
            again = start("predict", photos, "--url", second.url, "--output", output, "--skip-done")
            assert again.wait(60) == 0
    assert names(output) == files
    assert [json.loads(line)["label"] for line in output.read_text().splitlines()] == [
        CLASSES[number % 3] for number in range(3000)
    ]


def start(*arguments: object) -> subprocess.Popen[bytes]:
    """Begin `linnet` in a process of its own."""
    paths = os.pathsep.join((str(ROOT), str(ROOT / "client")))
    command = [sys.executable, "-m", "linnet.cli", *map(str, arguments)]
    return subprocess.Popen(command, cwd=ROOT, env=os.environ | {"PYTHONPATH": paths})


def wait_for_rows(output: Path, count: int, timeout_s: float = 60) -> None:
    """Return when the file has so many lines."""
    end_s = time.monotonic() + timeout_s
    while not output.exists() or output.read_bytes().count(b"\n") < count:
        assert time.monotonic() < end_s, "the run does not go on"
        time.sleep(0.02)
