"""The report shows everything it promises, in one file, and says what it cannot show."""

from __future__ import annotations

import base64
import json
import re
import shutil
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from tests.trainer.trees import write_photos
from trainer.errors import RunNotFound
from trainer.evaluation import EVALUATION_FILE, PREDICTIONS_FILE, read_evaluation
from trainer.report.errors import UnknownLayer
from trainer.report.report import write_report
from trainer.run import RUN_FILE, read_run

PICTURES = {
    "samples", "balance", "curves", "confusion", "classes", "reliability", "mistakes", "feature-maps", "grad-cam"
}  # fmt: skip
SECTIONS = ["Results", "Confidence", "Mistakes", "Training", "Data", "Network", "Inside", "How it was made"]


class Reader(HTMLParser):
    """Collects what a page points to, its headings and its words."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.ids: list[str] = []
        self.open: list[str] = []
        self.headings: list[str] = []
        self.words = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.open.append(tag)
        for name, value in attrs:
            if name in ("src", "href", "srcset", "action", "data"):
                self.links.append(value or "")
            if name == "id":
                self.ids.append(value or "")

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "h2" and data.strip():
            self.headings.append(data)
        self.words += data


def read(directory: Path) -> Reader:
    return Reader((directory / "report.html").read_text(encoding="utf-8"))


def moved_away(run_dir: Path, directory: Path, **tables: dict[str, object]) -> Path:
    """Copy a run and change tables of its recipe, as if the world around it had changed."""
    shutil.copytree(run_dir, directory)
    record = json.loads((directory / RUN_FILE).read_text())
    for name, table in tables.items():
        record["recipe"][name].update(table)
    (directory / RUN_FILE).write_text(json.dumps(record))
    return directory


def test_everything_promised_is_there(reported_run: Path) -> None:
    assert {path.name for path in (reported_run / "plots").iterdir()} == {f"{name}.png" for name in PICTURES}
    reader = read(reported_run)
    assert reader.headings == SECTIONS
    test = read_evaluation(reported_run).evaluation.test
    assert f"{100 * test.accuracy:.2f} %" in reader.words
    assert f"{test.correct} of {test.n}" in reader.words
    for name in ("blue", "green", "red", "macro avg", "weighted avg", "blocks.18", "mobilenet_v2"):
        assert name in reader.words


def test_the_page_asks_nothing_of_any_other_place(reported_run: Path) -> None:
    html = (reported_run / "report.html").read_text(encoding="utf-8")
    reader = Reader(html)
    for link in reader.links:
        assert link.startswith(("data:", "#")), link[:80]
        assert not link.startswith("#") or link[1:] in reader.ids
    assert not re.search(r"@import|url\(|<script", html)


def test_every_picture_is_inside_and_is_a_picture(reported_run: Path) -> None:
    pictures = [link for link in read(reported_run).links if link.startswith("data:image/png;base64,")]
    assert len(pictures) == len(PICTURES)
    for link in pictures:
        with Image.open(BytesIO(base64.b64decode(link.partition(",")[2]))) as image:
            image.load()
            assert image.width <= 1200, "wider than the page"
            assert image.width > 300
            assert len(image.convert("RGB").getcolors(1 << 24) or []) > 2, "blank"


def test_the_markdown_finds_its_pictures(reported_run: Path) -> None:
    text = (reported_run / "report.md").read_text(encoding="utf-8")
    found = re.findall(r"\]\((plots/[^)]+)\)", text)
    assert {Path(path).stem for path in found} == PICTURES
    assert all((reported_run / path).is_file() for path in found)
    assert re.findall(r"^## (.*)$", text, flags=re.MULTILINE) == SECTIONS
    for line in text.splitlines():
        if line.startswith("| "):
            assert line.endswith(" |")


def test_a_report_changes_nothing_else_in_the_run(run_dir: Path, reported_run: Path) -> None:
    for path in run_dir.rglob("*"):
        if path.is_file():
            assert path.read_bytes() == (reported_run / path.relative_to(run_dir)).read_bytes()


def test_a_layer_can_be_chosen(run_dir: Path, tmp_path: Path) -> None:
    directory = moved_away(run_dir, tmp_path / "run")
    write_report(directory, layer="blocks.6")
    assert (
        "Feature maps of blocks.6, before (above) and after (below) the training; they are the same"
        in read(directory).words
    )


def test_an_unknown_layer_is_refused_and_nothing_is_written(run_dir: Path, tmp_path: Path) -> None:
    directory = moved_away(run_dir, tmp_path / "run")
    before = set(directory.rglob("*"))
    with pytest.raises(UnknownLayer, match=r"no feature maps of a layer 'blocks\.99': choose one of blocks\.0, "):
        write_report(directory, layer="blocks.99")
    assert set(directory.rglob("*")) == before


def test_without_the_images_the_rest_is_shown(run_dir: Path, tmp_path: Path) -> None:
    directory = moved_away(run_dir, tmp_path / "run", data={"path": str(tmp_path / "gone")})
    write_report(directory)
    reader = read(directory)
    assert reader.headings == SECTIONS
    assert f"The images of this run are no longer there. There is no data at {tmp_path / 'gone'}" in reader.words
    kept = {path.stem for path in (directory / "plots").iterdir()}
    assert kept == PICTURES - {"samples", "balance", "mistakes", "feature-maps", "grad-cam"}
    test = read_evaluation(directory).evaluation.test
    assert f"{100 * test.accuracy:.2f} %" in reader.words


def test_other_images_in_the_same_place_are_not_shown_as_its_own(run_dir: Path, tmp_path: Path) -> None:
    for split, seed in (("train", 8), ("test", 9)):
        write_photos(tmp_path / "data" / split, {"blue": 5, "green": 5, "red": 5}, seed=seed)
    directory = moved_away(run_dir, tmp_path / "run", data={"path": str(tmp_path / "data")})
    write_report(directory)
    assert "are not the ones this run was tested on" in read(directory).words
    assert not (directory / "plots" / "samples.png").exists()


def test_without_the_first_weights_the_maps_after_training_are_shown(run_dir: Path, tmp_path: Path) -> None:
    directory = moved_away(run_dir, tmp_path / "run", network={"weights": str(tmp_path / "none.safetensors")})
    write_report(directory)
    words = read(directory).words
    assert "The network as it was before cannot be built. There is no weights file at" in words
    assert re.search(r"Feature maps of blocks\.\d+, after the training", words)


def test_a_run_without_evaluation_is_evaluated_once(run_dir: Path, tmp_path: Path) -> None:
    directory = moved_away(run_dir, tmp_path / "run")
    for name in (EVALUATION_FILE, PREDICTIONS_FILE):
        (directory / name).unlink()
    write_report(directory)
    evaluated, stated = read_evaluation(directory).evaluation, read_evaluation(run_dir).evaluation
    assert (evaluated.test.correct, evaluated.test.confusion) == (stated.test.correct, stated.test.confusion)
    assert "this evaluation" not in read(directory).words


def test_without_evaluation_and_images_the_record_is_all(run_dir: Path, tmp_path: Path) -> None:
    directory = moved_away(run_dir, tmp_path / "run", data={"path": str(tmp_path / "gone")})
    for name in (EVALUATION_FILE, PREDICTIONS_FILE):
        (directory / name).unlink()
    write_report(directory)
    reader = read(directory)
    assert "This run has no evaluation.json, and none can be made now." in reader.words
    assert f"{100 * read_run(directory).metrics['test'].accuracy:.2f} %" in reader.words
    assert not (directory / EVALUATION_FILE).exists()


def test_a_folder_without_a_run_has_no_report(tmp_path: Path) -> None:
    with pytest.raises(RunNotFound):
        write_report(tmp_path)
    assert not list(tmp_path.iterdir())
