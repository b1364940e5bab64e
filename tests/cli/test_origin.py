"""A file of rows holds the answers of one variant of one version: what would mix in others is refused."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from linnet_client import Client
from tests.cli.answering import answering
from tests.cli.conftest import Answer, Linnet
from tests.client.answers import prediction_answer
from tests.service.bundles import write_model
from tests.service.running import ServerProcess


@pytest.fixture
def output(linnet: Linnet, photos: Path, bundle_dir: Path, tmp_path: Path) -> Path:
    """A file that was stopped after four of its seven rows."""
    path = tmp_path / "rows.jsonl"
    assert linnet("predict", photos / "test" / "red", "--bundle", bundle_dir, "--output", path).code == 0
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:4]))
    return path


def stated(output: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(output.with_name("rows.jsonl.origin.json").read_text())
    return found


@pytest.fixture
def next_version(bundle_dir: Path, tmp_path: Path) -> Path:
    copy = tmp_path / "next" / bundle_dir.parent.name / "2"
    shutil.copytree(bundle_dir, copy)
    manifest = copy / "bundle.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"version": 2}))
    return copy


def test_what_answers_is_stated_beside_the_rows(output: Path, bundle_dir: Path) -> None:
    manifest = json.loads((bundle_dir / "bundle.json").read_text())
    assert stated(output) == {
        "model": manifest["name"], "version": str(manifest["version"]), "variant": "fp32", "top_k": 5
    }  # fmt: skip


def refused(answer: Answer, output: Path, before: bytes) -> str:
    assert answer.code == 2
    assert output.read_bytes() == before
    return answer.complaint


def test_the_rows_of_something_else_are_not_added(
    linnet: Linnet, photos: Path, bundle_dir: Path, next_version: Path, output: Path
) -> None:
    """Not even a row of a failure, or a line that was cut off, is taken from what is there."""
    with output.open("a") as file:
        file.write('{"filename":"a.jpg","error":{"code":"unreadable_file","detail":"No."}}\n{"filename":')
    before, name = output.read_bytes(), bundle_dir.parent.name
    options = ("predict", photos / "test" / "red", "--output", output, "--skip-done")
    assert refused(linnet(*options, "--bundle", next_version), output, before) == (
        f"The output {output} holds answers of {name} 1 (fp32, --top-k 5), and now answers {name} 2 (fp32, --top-k 5): "
        "name another output, or remove that one first."
    )
    assert "now answers" in refused(linnet(*options, "--bundle", bundle_dir, "--top-k", 2), output, before)
    assert linnet(*options, "--bundle", bundle_dir).code == 0
    assert len(output.read_text().splitlines()) == 7
    before = output.read_bytes()
    assert "now answers" in refused(linnet(*options, "--bundle", next_version), output, before)  # nothing is left to do


@pytest.mark.parametrize(("note", "reason"), [(None, "No such file or directory"), (b'{"model":', "")])
def test_rows_of_which_nothing_says_whose_they_are_are_not_continued(  # noqa: PLR0913
    *, linnet: Linnet, photos: Path, bundle_dir: Path, output: Path, note: bytes | None, reason: str
) -> None:
    path = output.with_name("rows.jsonl.origin.json")
    path.unlink() if note is None else path.write_bytes(note)
    before = output.read_bytes()
    options = ("predict", photos / "test" / "red", "--output", output, "--skip-done", "--bundle", bundle_dir)
    complaint = refused(linnet(*options), output, before)
    assert complaint.startswith(f"What answered the rows of {output} is not known ({path}: {reason}")
    output.write_text('{"filename":"a.jpg","error":{"code":"unreadable_file","detail":"No."}}\n')
    assert linnet(*options).code == 0  # nothing is answered yet, so nothing is mixed
    assert len(output.read_text().splitlines()) == 7


def test_the_note_of_a_file_that_is_gone_does_not_count(
    linnet: Linnet, photos: Path, next_version: Path, output: Path
) -> None:
    output.unlink()
    assert linnet("predict", photos / "test" / "red", "--bundle", next_version, "--output", output).code == 0
    assert stated(output)["version"] == "2"


def test_a_table_states_nothing(linnet: Linnet, photos: Path, bundle_dir: Path, tmp_path: Path) -> None:
    output = tmp_path / "rows.txt"
    options = ("predict", photos / "test" / "red", "--bundle", bundle_dir, "--table", "--output", output)
    assert linnet(*options).code == 0
    assert [path.name for path in tmp_path.iterdir()] == ["rows.txt"]


@pytest.mark.e2e
def test_a_service_that_has_another_version_by_now_is_refused(linnet: Linnet, photos: Path, tmp_path: Path) -> None:
    models, output = tmp_path / "models", tmp_path / "rows.jsonl"
    write_model(models)
    with ServerProcess(models, poll_s=1) as server, Client(server.url) as client:
        options = ("predict", photos / "test" / "red", "--url", server.url, "--output", output)
        assert linnet(*options).code == 0
        assert stated(output) == {"model": "colours", "version": "1", "variant": None, "top_k": 5}
        output.write_text("".join(output.read_text().splitlines(keepends=True)[:4]))
        write_model(models, version=2)
        while not any(model.version == "2" and model.default for model in client.models()):
            time.sleep(0.05)
        before = output.read_bytes()
        answer = linnet(*options, "--skip-done")
    assert "now answers colours 2 (of a service, --top-k 5)" in refused(answer, output, before)


def test_a_service_that_changes_its_version_meanwhile_stops_the_run(
    linnet: Linnet, photos: Path, tmp_path: Path
) -> None:
    """The rows of before stay, for the version that gave them to go on with."""
    output = tmp_path / "rows.jsonl"

    def predict(number: int) -> httpx.Response:
        """Answer from machines of two kinds, and from the fourth image on with another version."""
        served = {"version": "1" if number < 3 else "2", "variant": ("int8", "fp32")[number % 2]}
        return httpx.Response(200, json=prediction_answer().json() | served)

    with answering(predict) as url:
        options = ("--url", url, "--concurrency", 1, "--output", output)
        answer = linnet("predict", photos / "test" / "red", *options)
    assert answer.code == 2
    assert answer.complaint.startswith(
        f"The output {output} holds answers of colours 1 (of a service, --top-k 5), and now answers colours 2 (of a "
    )
    assert len(output.read_text().splitlines()) == 3
    assert stated(output)["version"] == "1"
