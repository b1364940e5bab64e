"""`linnet predict` answers alike in process and through a service, one JSON object per image, in order."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import HTTPServer, SimpleHTTPRequestHandler
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.errors import Overloaded
from tests.cli.answering import answering
from tests.cli.conftest import Answer, Linnet
from tests.client.answers import problem_answer
from tests.service.running import ROOT, ServerProcess

STOPS = "`linnet predict` stops here: "


def rows(answer: Answer) -> list[dict[str, Any]]:
    return [json.loads(line) for line in answer.out.splitlines()]


@pytest.fixture
def awkward(photos: Path, tmp_path: Path) -> list[Path]:
    """Files named in an order of their own: two photos with a broken one between, and one that is no image."""
    broken, text = tmp_path / "broken.jpg", tmp_path / "notes.txt"
    broken.write_bytes((photos / "test" / "red" / "000.jpg").read_bytes()[:300])
    text.write_text("no image")
    return [photos / "test" / "red" / "001.jpg", broken, text, photos / "test" / "blue" / "001.jpg"]


def test_images_are_answered_in_order(linnet: Linnet, photos: Path, bundle_dir: Path) -> None:
    files = [photos / "test" / name for name in ("red/002.jpg", "blue/000.jpg", "green/001.jpg")]
    answer = linnet("predict", *files, "--bundle", bundle_dir, "--top-k", 2)
    assert (answer.code, answer.err) == (0, "")
    assert [row["filename"] for row in rows(answer)] == [str(file) for file in files]
    for row in rows(answer):
        assert row.keys() == {"filename", "label", "confidence", "uncertain", "top"}
        assert row["top"][0] == {"label": row["label"], "probability": row["confidence"]}
        assert len(row["top"]) == 2
        assert row["top"][0]["probability"] >= row["top"][1]["probability"]


def test_a_folder_is_its_images_in_order(linnet: Linnet, photos: Path, bundle_dir: Path, tmp_path: Path) -> None:
    folder = tmp_path / "album"
    shutil.copytree(photos / "test" / "red", folder / "red")
    (folder / "red" / "notes.txt").touch()
    (folder / "red" / "._001.jpg").touch()
    (folder / "red" / "folder.jpg").mkdir()
    shutil.copytree(photos / "test" / "blue", folder / ".trash")
    answer = linnet("predict", folder, "--bundle", bundle_dir)
    assert [row["filename"] for row in rows(answer)] == [str(path) for path in sorted((folder / "red").glob("0*.jpg"))]
    assert answer.code == 0


def test_the_labels_are_the_manifests_count(linnet: Linnet, photos: Path, bundle_dir: Path) -> None:
    answer = linnet("predict", photos / "test", "--models-dir", bundle_dir.parents[1])
    metrics = json.loads((bundle_dir / "bundle.json").read_text())["variants"][0]["metrics"]
    hits = [row["label"] == Path(row["filename"]).parent.name for row in rows(answer)]
    assert (sum(hits), len(hits)) == (metrics["correct"], metrics["n"])


def test_an_image_that_fails_has_an_error_in_its_place(linnet: Linnet, awkward: list[Path], bundle_dir: Path) -> None:
    answer = linnet("predict", *awkward, "--bundle", bundle_dir)
    assert answer.code == 1
    assert [row["filename"] for row in rows(answer)] == [str(path) for path in awkward]
    assert [row.get("error", {}).get("code") for row in rows(answer)] == [
        None, "unreadable_image", "unsupported_image", None
    ]  # fmt: skip
    assert answer.err == ""


@pytest.mark.e2e
def test_a_file_that_cannot_be_read_has_an_error_in_its_place(linnet: Linnet, bundle_dir: Path, url: str) -> None:
    """/proc/self/mem exists and gives an input/output error to whoever reads it, even to root."""
    for option in (("--bundle", bundle_dir), ("--url", url)):
        answer = linnet("predict", "/proc/self/mem", *option)
        (row,) = rows(answer)
        assert row["error"] == {
            "code": "unreadable_file", "detail": "The file cannot be read (Input/output error): check it."
        }  # fmt: skip
        assert answer.code == 1


def test_the_highest_version_of_the_first_name_is_the_default(
    linnet: Linnet, photos: Path, bundle_dir: Path, tmp_path: Path
) -> None:
    for name, version in (("aaa", "9"), ("aaa", "10"), ("zzz", "11")):
        shutil.copytree(bundle_dir, tmp_path / name / version)
        path = tmp_path / name / version / "bundle.json"
        path.write_text(path.read_text().replace('"red"', f'"{name}{version}"'))
    photo = photos / "test" / "red" / "000.jpg"
    (row,) = rows(linnet("predict", photo, "--models-dir", tmp_path))
    assert "aaa10" in {score["label"] for score in row["top"]}
    (row,) = rows(linnet("predict", photo, "--models-dir", tmp_path, "--model", "zzz"))
    assert "zzz11" in {score["label"] for score in row["top"]}


@pytest.mark.parametrize(
    ("options", "code", "sentence"),
    [
        (("{tmp}/none.jpg",), 2, "There is no image or folder at {tmp}/none.jpg: check the path."),
        (("{tmp}",), 2, "There is no image at {tmp}: check the path."),
        (("{photo}", "--bundle", "{tmp}"), 1, "There is no bundle at {tmp}: name a folder that holds bundle.json."),
        (("{photo}", "--models-dir", "{tmp}"), 1, "There is no bundle at {tmp}: name a folder"),
        (("{photo}", "--models-dir", "{tmp}", "--model", "x"), 1, "There is no bundle at {tmp}/x: name a folder"),
        (("{photo}", "--url", "http://127.0.0.1:9"), 1, STOPS + "The service at http://127.0.0.1:9 cannot be reached"),
        (("{photo}", "--url", "localhost:9"), 1, STOPS + "'localhost:9' is not the address of a service ("),
        (("{photo}", "--url", "http://host:port"), 1, STOPS + "'http://host:port' is not the address of a service ("),
        (
            ("{photo}", "--url", "http://x", "--bundle", "y"),
            2,
            "The options --bundle and --url each say what is to answer: give one",
        ),
        (
            ("{photo}", "--bundle", "y", "--model", "x"),
            2,
            "The options --bundle and --model each say what is to answer",
        ),
        (("{photo}", "--skip-done"), 2, "`--skip-done` continues the JSON lines of a file: name it with --output."),
        (
            ("{photo}", "--skip-done", "--table", "--output", "x"),
            2,
            "`--skip-done` continues the JSON lines of a file, and a table cannot be continued: leave out one of",
        ),
        (
            ("{photo}", "--table", "--output", "{photo}"),
            2,
            "The output {photo} exists already: name another, as a table cannot be continued, or remove it first.",
        ),
        (
            ("{photo}", "--output", "{photo}-nowhere/x"),
            2,
            "There is no folder for the output at {photo}-nowhere: check",
        ),
        (("{photo}", "--output", "{photo}"), 2, "The output {photo} exists already: add --skip-done to continue"),
        (("{photo}", "--output", "{photo}", "--skip-done"), 2, "Line 1 of {photo} is no row of `linnet predict`: name"),
        (("{tmp}/*.jpg",), 2, "There is no image or folder at {tmp}/*.jpg: check the path."),
    ],
)
def test_a_mistake_is_one_sentence(  # noqa: PLR0913
    *, linnet: Linnet, photos: Path, tmp_path: Path, options: tuple[str, ...], code: int, sentence: str
) -> None:
    places = {"tmp": tmp_path, "photo": photos / "test" / "red" / "000.jpg"}
    answer = linnet("predict", *(option.format(**places) for option in options))
    assert answer.complaint.startswith(sentence.format(**places))
    assert answer.code == code
    assert places["photo"].stat().st_size > 0


def test_a_bundle_that_was_changed_is_refused(linnet: Linnet, photos: Path, bundle_dir: Path, tmp_path: Path) -> None:
    copy = tmp_path / "colours" / "1"
    shutil.copytree(bundle_dir, copy)
    data = bytearray((copy / "model.onnx").read_bytes())
    data[len(data) // 2] ^= 1
    (copy / "model.onnx").write_bytes(data)
    answer = linnet("predict", photos / "test" / "red" / "000.jpg", "--bundle", copy)
    assert answer.code == 1
    assert answer.complaint.startswith(f"The bundle file {copy / 'model.onnx'} has another SHA-256")


@pytest.fixture(scope="module")
def url(bundle_dir: Path) -> Iterator[str]:
    """The address of a real service with the bundle."""
    with ServerProcess(bundle_dir.parents[1]) as server:
        yield server.url


@pytest.mark.e2e
def test_a_service_answers_as_this_process_does(
    linnet: Linnet, photos: Path, awkward: list[Path], bundle_dir: Path, url: str
) -> None:
    options = (photos / "test", *awkward, "--top-k", 3)
    here, there = linnet("predict", *options, "--bundle", bundle_dir), linnet("predict", *options, "--url", url)
    assert here.code == there.code == 1
    assert len(rows(here)) == 22
    for ours, theirs in zip(rows(here), rows(there), strict=True):
        assert ours.keys() == theirs.keys()
        assert ours["filename"] == theirs["filename"]
        if "error" in ours:
            assert ours["error"] == theirs["error"]
        else:
            assert ours["label"] == theirs["label"]
            by_label = [{score["label"]: score["probability"] for score in row["top"]} for row in (ours, theirs)]
            assert by_label[0] == pytest.approx(by_label[1], abs=2e-6)


def test_what_answers_but_is_no_linnet_is_said(linnet: Linnet, photos: Path) -> None:
    """Python's own file server answers with a page of HTML."""
    with HTTPServer(("127.0.0.1", 0), SimpleHTTPRequestHandler) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        address = f"http://127.0.0.1:{server.server_port}"
        answer = linnet("predict", photos / "test" / "red" / "000.jpg", "--url", address)
        thread.join()
    assert answer.code == 1
    assert (
        f"{STOPS}What answers at {address} is no Linnet service that this client understands (status 404" in answer.err
    )
    assert answer.out == ""


@pytest.mark.e2e
def test_ctrl_c_ends_a_run_that_waits_for_a_service(photos: Path) -> None:
    is_asked = threading.Event()

    def predict(_: int) -> httpx.Response:
        is_asked.set()
        return problem_answer(Overloaded(retry_after_s=5))

    with answering(predict) as url:
        command = [sys.executable, "-m", "linnet.cli", "predict", str(photos / "test"), "--url", url]
        environment = os.environ | {"PYTHONPATH": str(ROOT / "client")}
        with subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True) as run:
            assert is_asked.wait(60)
            time.sleep(0.2)  # the run is in its wait
            run.send_signal(signal.SIGINT)
            started = time.monotonic()
            _, said = run.communicate(timeout=90)
    assert time.monotonic() - started < 10
    assert run.returncode == 130
    assert "Traceback" not in said
