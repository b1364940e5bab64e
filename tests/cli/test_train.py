"""What is wrong with a recipe, its data or its weights is one sentence, and leaves nothing behind."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.cli.conftest import Linnet
from tests.trainer.trees import recipe_text


@pytest.fixture
def own_photos(photos: Path, tmp_path: Path) -> Path:
    """A copy of `photos` to spoil."""
    return Path(shutil.copytree(photos, tmp_path / "photos"))


@pytest.fixture
def own_recipe(own_photos: Path, weights_file: Path, tmp_path: Path) -> Path:
    path = tmp_path / "recipe.toml"
    path.write_text(recipe_text(own_photos, weights_file))
    return path


def everything(folder: Path) -> set[Path]:
    return set(folder.rglob("*"))


def check(linnet: Linnet, root: Path, sentence: str, code: int, *arguments: object) -> None:
    """Train, and find the sentence, the exit code, and nothing new under `root`."""
    before = everything(root)
    answer = linnet("train", *arguments)
    assert answer.complaint.startswith(sentence.format(root=root))
    assert answer.code == code
    assert everything(root) == before


@pytest.mark.parametrize(
    ("keep", "sentence"),
    [
        ({"green": 0}, "The class folder {root}/photos/train/green holds no image: add images or remove the folder."),
        ({"green": 1}, "The class 'green' has 1 image for training, but 2 are needed so that every split has one: add"),
        (
            {"blue": None, "red": None},
            "{root}/photos/train holds only the class folder 'green': put the images of each class into",
        ),
        ({"green": None}, "{root}/photos/test has green besides: every split needs the same class folders as train."),
    ],
)
def test_folders_that_cannot_be_trained_on(
    linnet: Linnet, own_recipe: Path, tmp_path: Path, keep: dict[str, int | None], sentence: str
) -> None:
    for name, count in keep.items():
        folder = tmp_path / "photos" / "train" / name
        if count is None:
            shutil.rmtree(folder)
        else:
            for path in sorted(folder.iterdir())[count:]:
                path.unlink()
    check(linnet, tmp_path, sentence, 1, own_recipe, "--run", tmp_path / "run")


def test_an_image_that_cannot_be_read(linnet: Linnet, own_recipe: Path, own_photos: Path, tmp_path: Path) -> None:
    path = own_photos / "train" / "red" / "003.jpg"
    path.write_bytes(path.read_bytes()[:300])
    sentence = "1 of the images cannot be used: {root}/photos/train/red/003.jpg. The first: The image cannot be read"
    check(linnet, tmp_path, sentence, 1, own_recipe, "--run", tmp_path / "run")


def test_a_photo_in_two_splits(linnet: Linnet, own_recipe: Path, own_photos: Path, tmp_path: Path) -> None:
    shutil.copy(own_photos / "train" / "red" / "000.jpg", own_photos / "test" / "red" / "000.jpg")
    check(linnet, tmp_path, "1 image is in more than one split (", 1, own_recipe, "--run", tmp_path / "run")


def test_a_disk_too_small_for_the_run(
    linnet: Linnet, own_recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=10_000_000))
    sentence = "There is not enough space on the disk of {root}/run ("
    check(linnet, tmp_path, sentence, 1, own_recipe, "--run", tmp_path / "run")


def test_a_recipe_key_that_nobody_knows(linnet: Linnet, own_recipe: Path, tmp_path: Path) -> None:
    own_recipe.write_text(f"sed = 1\n{own_recipe.read_text()}")
    sentence = "The recipe {root}/recipe.toml is not valid: the key 'sed' is unknown; did you mean 'seed'?."
    check(linnet, tmp_path, sentence, 2, own_recipe, "--run", tmp_path / "run")


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (("none.toml",), 2, "There is no recipe at {root}/none.toml: check the path."),
        (("--set", "lr"), 2, "The recipe {root}/recipe.toml is not valid: --set lr is not of the form KEY=VALUE."),
        (("--set", "data.path={root}/none"), 1, "There is no data at {root}/none: set data.path to a folder that"),
        (("--set", "network.weights={root}/none"), 2, "There is no weights file at {root}/none: set network.weights"),
        (("--set", "network.weights={root}/recipe.toml"), 1, "{root}/recipe.toml does not hold weights of mobilenet"),
        (("--run", "{root}/recipe.toml"), 2, "{root}/recipe.toml holds something else than a run: choose another"),
        (("--run", "{root}/recipe.toml/run"), 1, "{root}/recipe.toml/run cannot be used (Not a directory): check"),
        (("--resume",), 2, "There is nothing to resume in {root}/run: start it without --resume."),
    ],
)
def test_an_argument_that_cannot_be(  # noqa: PLR0913
    *, linnet: Linnet, own_recipe: Path, tmp_path: Path, arguments: tuple[str, ...], code: int, sentence: str
) -> None:
    recipe = own_recipe if arguments[0].startswith("--") else tmp_path / arguments[0]
    options = [argument.format(root=tmp_path) for argument in arguments if argument != recipe.name]
    check(linnet, tmp_path, sentence, code, recipe, "--run", tmp_path / "run", *options)


def test_a_complete_run_is_not_trained_again(linnet: Linnet, recipe_file: Path, run_dir: Path) -> None:
    answer = linnet("train", recipe_file, "--run", run_dir)
    assert answer.code == 2
    assert answer.complaint == f"There is a complete run in {run_dir}: choose another with --run DIR."


def test_the_result_is_the_folder_and_progress_goes_to_stderr(
    linnet: Linnet, recipe_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    short = ("--set", "phase.head.epochs=1", "--set", "phase.tail.epochs=1", "--set", "name=short")
    answer = linnet("train", recipe_file, *short, "--cache", tmp_path / "cache")
    assert (answer.code, answer.out) == (0, "runs/short\n")
    assert {"run.json", "report.html", "report.md"} <= {path.name for path in (tmp_path / "runs" / "short").iterdir()}
    assert len(list((tmp_path / "cache").iterdir())) == 3, "one file of decoded images for each split"
    lines = answer.err.splitlines()
    assert lines[0].startswith("short: mobilenet_v2 from ")
    assert "on 3 classes, 27 training, 9 validation and 18 test images (train folder with 0.25 of it" in lines[0]
    assert [line.split("  ")[0] for line in lines[1:-1]] == ["head 0/1", "head 1/1", "tail 0/1", "tail 1/1"]
    assert lines[-1].startswith("test accuracy 0.")
    assert lines[-1].endswith("of 18), run in runs/short")
