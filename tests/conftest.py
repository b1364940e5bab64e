"""Tiny real artefacts, each made once per session by the very code that makes large ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.trainer.trees import recipe_text, write_photos
from trainer.recipe import Recipe, load_recipe


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder of three classes with train and test folders."""
    root = tmp_path_factory.mktemp("photos")
    write_photos(root / "train", {"blue": 12, "green": 12, "red": 12}, seed=1)
    write_photos(root / "test", {"blue": 5, "green": 6, "red": 7}, seed=2)
    return root


@pytest.fixture(scope="session")
def recipe_file(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recipe over `photos`."""
    path = tmp_path_factory.mktemp("recipes") / "colours.toml"
    path.write_text(recipe_text(photos))
    return path


@pytest.fixture(scope="session")
def recipe(recipe_file: Path) -> Recipe:
    """The recipe of `recipe_file`, resolved."""
    return load_recipe(recipe_file)


@pytest.fixture(scope="session")
def run_dir(recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The finished run of `recipe`; not to be written to."""
    from trainer.train import train

    directory = tmp_path_factory.mktemp("runs") / "colours"
    train(recipe, directory)
    return directory


@pytest.fixture(scope="session")
def bundle_dir(run_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle of `run_dir`, alone in its models folder; not to be written to."""
    from export.export import export_run

    return export_run(run_dir, tmp_path_factory.mktemp("models"))
